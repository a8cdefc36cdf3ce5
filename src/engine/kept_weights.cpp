#include "engine/kept_weights.h"

#include <fmt/format.h>

#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/cache_folder.h"
#include "base/error.h"
#include "engine/model_identity.h"
#include "file/gguf_writer.h"
#include "rows/ordered_rows.h"
#include "text/hash.h"

namespace plimsoll {
namespace {

Conversion conversion_of(const TensorUse& use, const Format* format) {
  return {use.info, use.slot.is_vector() ? use.info->format : format};
}

std::uint64_t hash_bytes(std::span<const std::uint8_t> bytes) {
  return hash_text({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

/// Of rows of one tile of a tensor, as keep_weights() writes them.
std::uint64_t fingerprint_of_tile(const Kernels& kernels, const ModelFile& file,
                                  const Conversion& conversion, std::byte* staging) {
  const TensorInfo& info = *conversion.info;
  const std::uint64_t name = hash_text(info.name);
  // Other rows in each tensor.
  const std::int64_t tiles = (info.rows() + tile_rows - 1) / tile_rows;
  const std::int64_t first =
      static_cast<std::int64_t>(slot_of(name, static_cast<std::size_t>(tiles))) * tile_rows;
  const std::string shape =
      fmt::format("{} {} {}", conversion.format->name, info.rows(), info.columns());
  std::uint64_t hash = name ^ hash_text(shape);
  const std::int64_t columns = std::min(most_piece_columns, info.columns());
  RowConverter converter(kernels, file, conversion, tile_rows, columns, staging);
  for (std::int64_t column = 0; column < info.columns(); column += columns) {
    const Piece piece{first, std::min<std::int64_t>(tile_rows, info.rows() - first), column,
                      std::min(columns, info.columns() - column)};
    converter.convert(piece, converter.read(piece),
                      [&](std::int64_t, std::int64_t count, const std::uint8_t* rows) {
                        const Bytes bytes = static_cast<Bytes>(count) *
                                            row_bytes(*conversion.format, piece.columns);
                        hash = mix(hash, hash_bytes({rows, bytes}) | 1);
                      });
  }
  return hash;
}

/// The same for a file and for what keep_weights() makes of it in these formats.
std::uint64_t fingerprint(Context& context, const ModelFile& file,
                          std::span<const TensorUse> tensors, const Weights::Formats& formats) {
  Bytes stride = page_bytes;
  for (std::size_t i = 0; i < tensors.size(); ++i)
    stride = std::max(stride, RowConverter::staging_bytes(
                                  conversion_of(tensors[i], formats[i]), tile_rows,
                                  std::min(most_piece_columns, tensors[i].info->columns())));
  const Region staging(context.ledger, Account::io,
                       stride * static_cast<Bytes>(context.threads.size()), Region::Pages::normal);
  std::vector<std::uint64_t> parts(tensors.size());
  context.threads.parallel_for(
      static_cast<std::int64_t>(tensors.size()), 1,
      [&](std::int64_t begin, std::int64_t end, int worker) {
        for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i)
          parts[i] =
              fingerprint_of_tile(context.kernels, file, conversion_of(tensors[i], formats[i]),
                                  staging.data() + stride * static_cast<Bytes>(worker));
      });
  return hash_bytes(
      {reinterpret_cast<const std::uint8_t*>(parts.data()), parts.size() * sizeof(std::uint64_t)});
}

std::string name_end(std::uint64_t fingerprint) {
  return fmt::format("-{:016x}.gguf", fingerprint);
}

/// What decides the bytes of a folder's tensors beside its files, and of those of another layout.
std::string configuration(const Description& d) {
  return fmt::format("{} {} {} {} {} {} {} {}", d.family, d.layers, d.width, d.heads, d.kv_heads,
                     d.head_dim, d.feed_forward, d.vocabulary);
}

/// Throws Error(file_corrupt) unless the kept file is what was written.
void check_kept(Context& context, const ModelFile& kept, const OpenModel& model,
                std::uint64_t rounded) {
  const std::vector<TensorUse> tensors = find_tensors(kept, model.facts.description);
  const auto refuse = [&kept](const char* why) {
    throw Error(ErrorCode::file_corrupt, fmt::format("{}: {}", kept.path(), why),
                "give --keep to make it again, or remove it");
  };
  Weights::Formats formats;
  for (const TensorUse& use : tensors) formats.push_back(use.info->format);
  if (tensors.size() != model.facts.tensors.size() ||
      fingerprint(context, kept, tensors, formats) != rounded)
    refuse("does not hold the weights that its name says");
  const KnownIdentity known(kept, "kept");
  if (known.find()) return;
  // Copied, or brought back from elsewhere, it may still be the same.
  const std::optional<std::string> written = known.find_by_name();
  const std::string identity = written ? identify(context, kept, tensors) : "";
  if (!written || identity != *written) refuse("was changed since it was written");
  known.remember(identity);
}

/// The model's identity; the whole of it is read where that is not known.
std::string identity_of(Context& context, const OpenModel& model) {
  const KnownIdentity known(model.file, configuration(model.facts.description));
  if (std::optional<std::string> identity = known.find()) return *identity;
  std::string identity = identify(context, model.file, model.facts.tensors);
  known.remember(identity);
  return identity;
}

}  // namespace

std::string kept_folder() {
  const std::string cache = cache_folder();
  return cache.empty() ? cache : cache + "/fitted";
}

std::optional<ModelFile> find_kept(Context& context, const OpenModel& model, const Plan& plan) {
  const std::string folder = kept_folder();
  std::error_code error;
  std::filesystem::directory_iterator files(folder, error);
  if (folder.empty() || error || files == std::filesystem::directory_iterator()) return {};
  const std::uint64_t rounded = fingerprint(context, model.file, model.facts.tensors, plan.formats);
  const std::string end = name_end(rounded);
  bool may_be = false;
  for (; files != std::filesystem::directory_iterator(); files.increment(error)) {
    may_be |= files->path().filename().string().ends_with(end);
    if (error) break;
  }
  if (!may_be) return {};
  const std::string path = folder + "/" + identity_of(context, model) + end;
  if (!std::filesystem::exists(path, error)) return {};
  ModelFile kept = ModelFile::open(path);
  check_kept(context, kept, model, rounded);
  return kept;
}

std::string keep_weights(Context& context, const OpenModel& model, const Plan& plan,
                         const std::function<void(Weights::Progress)>& progress) {
  const std::string folder = kept_folder();
  std::error_code error;
  if (!folder.empty()) std::filesystem::create_directories(folder, error);
  if (folder.empty() || error)
    throw Error(ErrorCode::write_failed,
                folder.empty() ? std::string("there is no folder for them")
                               : fmt::format("cannot make {}: {}", folder, error.message()),
                "set XDG_CACHE_HOME or HOME to a folder that can be written");
  const std::vector<TensorUse>& tensors = model.facts.tensors;
  const std::string ending = name_end(fingerprint(context, model.file, tensors, plan.formats));
  const KnownIdentity known(model.file, configuration(model.facts.description));
  // Its name is known when the whole model has been read.
  const std::string unnamed = fmt::format("{}/unnamed-{}{}", folder, ::getpid(), ending);
  GgufWriter writer(OutputPath::own(unnamed));
  writer.add_string("general.architecture", model.facts.description.family);
  // Whole pages, so that dense matrices take no more memory than planned.
  writer.add_integer("general.alignment", page_bytes);
  Bytes total = 0, staging = page_bytes;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const Conversion conversion = conversion_of(tensors[i], plan.formats[i]);
    const TensorInfo& info = *conversion.info;
    writer.add_tensor(info.name, *conversion.format,
                      {info.shape.data(), static_cast<std::size_t>(info.rank)});
    total += info.bytes;
    staging = std::max(staging, OrderedRows::staging_bytes(conversion, FilePieces(info)));
  }
  OrderedRows rows(context, model.file, staging);
  IdentityHash hash(tensors);
  Bytes before = 0;  // of tensors that are done
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const TensorInfo& info = *tensors[i].info;
    // The pieces that the identity is made of; in the plan's formats none becomes larger.
    rows.run(conversion_of(tensors[i], plan.formats[i]), FilePieces(info), {},
             {.read = [&](std::int64_t piece, auto bytes) { hash.add(i, piece, bytes); },
              .write = [&](auto bytes) { writer.write(bytes); },
              .progress =
                  [&](Bytes done) {
                    if (progress) progress({before + done, total});
                  }});
    before += info.bytes;
  }
  model.file.check_unchanged();
  const std::string identity = hash.finish();
  known.remember(identity);
  writer.finish();
  std::string path = folder + "/" + identity + ending;
  std::filesystem::rename(unnamed, path, error);
  if (error) {
    const std::string why = error.message();
    std::filesystem::remove(unnamed, error);
    throw Error(ErrorCode::write_failed, fmt::format("cannot name {}: {}", path, why));
  }
  const ModelFile kept = ModelFile::open(path);
  const KnownIdentity written(kept, "kept");
  written.remember(identify(context, kept, find_tensors(kept, model.facts.description)), true);
  return path;
}

}  // namespace plimsoll
