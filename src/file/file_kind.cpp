#include "file/file_kind.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "base/error.h"
#include "file/header_bytes.h"

namespace plimsoll {
namespace {

/// Of the beginning that is looked at; an archive of PyTorch names its parts there.
constexpr Bytes start_bytes = 512;

struct Kind {
  std::string_view what;
  std::string_view hint;
};

constexpr std::string_view convert_hint =
    "take the model as GGUF, or as a folder with config.json and safetensors files";
constexpr std::string_view unpack_hint = "unpack it, and name the .gguf file that is inside";
constexpr std::string_view again_hint = "the download failed: look into the file, and try again";

struct Magic {
  std::string_view bytes;
  Kind kind;
};

using namespace std::string_view_literals;

constexpr Magic magics[] = {
    // Programs with the model stored inside, for which "unzip" works.
    {"MZqFpD"sv, {"a llamafile, a program with a model inside", "take the model out of it: unzip FILE '*.gguf'"}},
    {"\x7f"
     "ELF"sv,
     {"a program", "name a model file"}},
    {"MZ"sv, {"a program", "name a model file"}},
    {"lmgg"sv, {"a GGML file of 2023, before GGUF", convert_hint}},
    {"fmgg"sv, {"a GGML file of 2023, before GGUF", convert_hint}},
    {"tjgg"sv, {"a GGML file of 2023, before GGUF", convert_hint}},
    {"algg"sv, {"a GGML adapter of 2023, before GGUF", convert_hint}},
    {"\x80\x02"sv, {"a checkpoint of PyTorch (pickle)", convert_hint}},
    {"\x80\x04"sv, {"a checkpoint of PyTorch (pickle)", convert_hint}},
    {"\x89HDF"sv, {"an HDF5 file", convert_hint}},
    {"\x1f\x8b"sv, {"a compressed file (gzip)", unpack_hint}},
    {"\xfd"
     "7zXZ"sv,
     {"a compressed file (xz)", unpack_hint}},
    {"\x28\xb5\x2f\xfd"sv, {"a compressed file (zstd)", unpack_hint}},
    {"BZh"sv, {"a compressed file (bzip2)", unpack_hint}},
    {"7z\xbc\xaf"sv, {"an archive (7-Zip)", unpack_hint}},
    {"Rar!"sv, {"an archive (RAR)", unpack_hint}},
    {"version https://git-lfs"sv,
     {"a pointer of Git LFS, in place of the file", "fetch the file itself: git lfs pull"}},
    {"FUGG"sv, {"a big-endian GGUF file", "convert the model on a little-endian machine"}},
};

bool begins_with(std::string_view start, std::string_view what) {
  return start.substr(0, what.size()) == what;
}

/// Whether it begins with `what`, in lower case, after white space and a byte order mark.
bool text_begins_with(std::string_view start, std::string_view what) {
  if (begins_with(start, "\xef\xbb\xbf")) start.remove_prefix(3);
  while (!start.empty() && std::isspace(static_cast<unsigned char>(start[0]))) start.remove_prefix(1);
  return start.size() >= what.size() &&
         std::equal(what.begin(), what.end(), start.begin(), [](char wanted, char found) {
           return wanted == std::tolower(static_cast<unsigned char>(found));
         });
}

Kind kind_of(std::string_view start) {
  if (begins_with(start, "PK\x03\x04")) {
    if (start.find("/data.pkl") != start.npos || start.find("/version") != start.npos ||
        start.find("/.format_version") != start.npos)
      return {"a checkpoint of PyTorch", convert_hint};
    return {"an archive (ZIP)", unpack_hint};
  }
  for (const Magic& magic : magics)
    if (begins_with(start, magic.bytes)) return magic.kind;
  std::uint64_t length = 0;
  if (start.size() > sizeof length) {
    std::memcpy(&length, start.data(), sizeof length);
    if (length > 1 && length < (std::uint64_t{1} << 32) && start[sizeof length] == '{')
      return {"a safetensors file", "name the folder that it is in, with its config.json"};
  }
  constexpr std::size_t tar_magic = 257;
  if (start.size() > tar_magic && begins_with(start.substr(tar_magic), "ustar"))
    return {"an archive (tar)", unpack_hint};
  if (text_begins_with(start, "<!doctype html") || text_begins_with(start, "<html"))
    return {"a web page", again_hint};
  if (text_begins_with(start, "<?xml")) return {"an XML file", again_hint};
  if (text_begins_with(start, "{") || text_begins_with(start, "["))
    return {"a JSON file",
            "name the model itself: a .gguf file, or a folder with config.json and safetensors "
            "files"};
  return {};
}

/// The file that an Ollama manifest names as its model; empty for anything else. Manifests lie in
/// models/manifests/HOST/NAMESPACE/NAME/TAG, what they name in models/blobs.
std::string ollama_blob(const InputFile& file) {
  constexpr Bytes most = 64 * KiB;
  if (file.size() > most) return {};
  std::string text(file.size(), '\0');
  file.read(0, text.size(), text.data());
  const std::size_t layer = text.find("\"application/vnd.ollama.image.model\"");
  if (layer == text.npos) return {};
  const std::size_t begin = text.rfind('{', layer), end = text.find('}', layer);
  if (begin == text.npos || end == text.npos) return {};
  const std::string_view object = std::string_view(text).substr(begin, end - begin);
  constexpr std::string_view mark = "sha256:";
  constexpr std::size_t digits = 64;
  const std::size_t digest = object.find(mark);
  if (digest == object.npos) return {};
  const std::string hash(object.substr(digest + mark.size(), digits));
  namespace fs = std::filesystem;
  std::error_code error;
  for (fs::path folder = fs::absolute(file.path(), error); folder != folder.parent_path();
       folder = folder.parent_path())
    if (folder.filename() == "manifests")
      return (folder.parent_path() / "blobs" / ("sha256-" + hash)).string();
  return {};
}

bool is_piece_name(const std::string& path) {
  for (const std::string_view mark : {".gguf-split-", ".gguf.split-", ".gguf.part", ".gguf-part"}) {
    const std::size_t at = path.rfind(mark);
    if (at == path.npos) continue;
    // ".part" alone is a browser's.
    if (at + mark.size() < path.size()) return true;
  }
  return false;
}

bool is_download_name(const std::string& path) {
  for (const std::string_view end : {".part", ".partial", ".crdownload", ".download", ".incomplete",
                                     ".aria2", ".tmp", "-partial"})
    if (path.ends_with(end)) return true;
  return false;
}

constexpr std::string_view piece_hint =
    "it is a piece of a file: put all pieces together (cat PIECE1 PIECE2 ... > model.gguf)";

}  // namespace

std::string incomplete_hint(const std::string& path) {
  if (is_piece_name(path)) return std::string(piece_hint);
  if (is_download_name(path))
    return "it is still being downloaded, by its name: wait, or download it again";
  return "the file is incomplete or damaged: download or convert it again";
}

void throw_foreign(const InputFile& file) {
  std::array<char, start_bytes> start;
  const Bytes size = std::min<Bytes>(file.size(), start.size());
  file.read(0, size, start.data());
  const std::string_view found(start.data(), size);
  const Kind kind = kind_of(found);
  if (!kind.what.empty()) {
    std::string hint(kind.hint);
    if (const std::string blob = ollama_blob(file); !blob.empty())
      throw Error(ErrorCode::unsupported_format,
                  fmt::format("{}: is a manifest of Ollama, not the model", file.path()),
                  fmt::format("give the model that it names: {}", blob));
    throw Error(ErrorCode::unsupported_format,
                fmt::format("{}: is {}, not a GGUF file", file.path(), kind.what), hint);
  }
  std::string hint =
      "give a .gguf file; a small text file in its place is often a Git LFS pointer or a failed "
      "download";
  if (is_piece_name(file.path())) hint = piece_hint;
  if (std::ranges::all_of(found, [](char byte) { return byte == 0; }))
    hint = "nothing has been written to its beginning: the download is not done, or has failed";
  throw Error(
      ErrorCode::file_corrupt,
      fmt::format("{}: not a GGUF file: wanted \"GGUF\" as its first bytes, found {}", file.path(),
                  quoted(found.substr(0, 4))),
      hint);
}

void refuse_other_kinds(const ModelFile& file) {
  const Metadata& metadata = file.metadata();
  const auto text = [&metadata](std::string_view key) -> std::string_view {
    const MetadataValue* value = metadata.find(key);
    return value && value->type() == MetadataType::string ? value->as_string() : "";
  };
  const auto refuse = [&file](const char* what, const char* hint) {
    throw Error(ErrorCode::unsupported_model, fmt::format("{}: is {}", file.path(), what), hint);
  };
  const std::string_view type = text("general.type"), family = text("general.architecture");
  if (type == "adapter" || metadata.contains("adapter.type"))
    refuse("an adapter (LoRA), which changes a model and is none",
           "give the model that it belongs to; adapters are not supported");
  if (type == "imatrix" || metadata.contains("imatrix.datasets"))
    refuse("an importance matrix, made to quantise a model",
           "give the model; fit measures what it needs by itself");
  if (family == "controlvector" || type == "controlvector")
    refuse("a control vector, which changes a model and is none",
           "give the model that it belongs to; control vectors are not supported");
  if (family == "clip" || type == "mmproj")
    refuse("the image or sound part (mmproj) of a model",
           "give the text model that it came with; images are not supported");
  if (family == "gemma3" && file.find_tensor("dense.0.weight"))
    refuse("EmbeddingGemma, a model that embeds texts and writes none", "give a model that writes");
  if (file.tensors().empty())
    throw Error(ErrorCode::invalid_model,
                fmt::format("{}: has no tensors{}", file.path(),
                            metadata.contains("tokenizer.ggml.tokens")
                                ? ": it holds only a vocabulary"
                                : ""),
                "give the whole model; tokenize and inspect take this file as it is");
}

}  // namespace plimsoll
