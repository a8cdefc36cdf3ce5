#include "hub/digest.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>

#include "base/error.h"
#include "hub/library.h"

namespace plimsoll {
namespace {

struct Crypto {
  Library library{{"libcrypto.so.3", "libcrypto.so.1.1"}, "libssl3"};
  decltype(&::EVP_MD_CTX_new) context_new;
  decltype(&::EVP_MD_CTX_free) context_free;
  decltype(&::EVP_sha256) sha256;
  decltype(&::EVP_sha1) sha1;
  decltype(&::EVP_DigestInit_ex) init;
  decltype(&::EVP_DigestUpdate) update;
  decltype(&::EVP_DigestFinal_ex) final;

  Crypto() {
    library.find("EVP_MD_CTX_new", context_new);
    library.find("EVP_MD_CTX_free", context_free);
    library.find("EVP_sha256", sha256);
    library.find("EVP_sha1", sha1);
    library.find("EVP_DigestInit_ex", init);
    library.find("EVP_DigestUpdate", update);
    library.find("EVP_DigestFinal_ex", final);
  }
};

const Crypto& crypto() {
  static const Crypto loaded;
  return loaded;
}

void require(int result) {
  if (result != 1) throw Error(ErrorCode::internal, "OpenSSL could not compute a digest");
}

}  // namespace

struct Digest::State {
  EVP_MD_CTX* context = crypto().context_new();
  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { crypto().context_free(context); }
};

Digest::Digest(Kind kind, Bytes bytes) : state_(std::make_unique<State>()) {
  require(crypto().init(state_->context, kind == Kind::sha256 ? crypto().sha256() : crypto().sha1(),
                        nullptr));
  if (kind == Kind::sha256) return;
  const std::string begin = fmt::format("blob {}", bytes);
  update({reinterpret_cast<const std::uint8_t*>(begin.c_str()), begin.size() + 1});
}

Digest::~Digest() = default;
Digest::Digest(Digest&&) noexcept = default;
Digest& Digest::operator=(Digest&&) noexcept = default;

void Digest::update(std::span<const std::uint8_t> data) {
  require(crypto().update(state_->context, data.data(), data.size()));
}

std::string Digest::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> value{};
  unsigned length = 0;
  require(crypto().final(state_->context, value.data(), &length));
  std::string out;
  for (unsigned i = 0; i < length; ++i) out += fmt::format("{:02x}", value[i]);
  return out;
}

std::string sha256_hex(const std::string& text) {
  Digest digest(Digest::Kind::sha256, text.size());
  digest.update({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  return digest.hex();
}

}  // namespace plimsoll
