#include "engine/kept_weights.h"

#include <fmt/format.h>

#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/cache_folder.h"
#include "base/error.h"
#include "engine/model_identity.h"
#include "file/gguf_writer.h"
#include "model/row_rounder.h"
#include "text/hash.h"

namespace plimsoll {
namespace {

MatrixSource source_of(const TensorUse& use, const Format* format) {
  return {use.info, use.slot.is_vector() ? use.info->format : format};
}

Bytes chunk_result_bytes(const MatrixSource& source) {
  const TensorInfo& info = *source.info;
  return static_cast<Bytes>(std::min(chunk_rows(info), info.rows())) *
         row_bytes(*source.format, info.columns());
}

/// Room for one chunk from the file to its result.
Bytes slot_bytes(const MatrixSource& source) {
  const Bytes read = chunk_staging_bytes(*source.info);
  if (source.is_as_in_file()) return read;
  return read + round_up(RowRounder::staging_bytes(*source.format, source.info->columns()) +
                             chunk_result_bytes(source),
                         page_bytes);
}

/// Chunks of tensors in their wanted formats, one in each of several slots.
class Converter {
 public:
  Converter(Context& context, const ModelFile& file, std::span<const TensorUse> tensors,
            const Weights::Formats& formats)
      : context_(context), file_(file) {
    for (std::size_t i = 0; i < tensors.size(); ++i)
      stride_ = std::max(stride_, slot_bytes(source_of(tensors[i], formats[i])));
    staging_ = Region(context.ledger, Account::io, stride_ * static_cast<Bytes>(slots()),
                      Region::Pages::normal);
  }

  int slots() const { return context_.threads.size(); }

  /// Rows [begin, end), at most a chunk; valid until the slot's next call. `see`, if given, sees
  /// them as the file has them.
  std::span<const std::uint8_t> convert(
      const MatrixSource& source, std::int64_t begin, std::int64_t end, int slot,
      const std::function<void(std::span<const std::uint8_t>)>& see = {}) const {
    const TensorInfo& info = *source.info;
    std::byte* const staging = staging_.data() + stride_ * static_cast<Bytes>(slot);
    const std::uint8_t* rows = read_chunk(file_, info, begin, end, staging);
    const Bytes row = row_bytes(*source.format, info.columns());
    const Bytes bytes = static_cast<Bytes>(end - begin) * row;
    if (see) see({rows, static_cast<Bytes>(end - begin) * row_bytes(*info.format, info.columns())});
    if (source.is_as_in_file()) return {rows, bytes};
    std::byte* const room = staging + chunk_staging_bytes(info);
    RowRounder rounder(context_.kernels, *info.format, *source.format, info.columns(), room);
    auto* const result = reinterpret_cast<std::uint8_t*>(
        room + RowRounder::staging_bytes(*source.format, info.columns()));
    const Bytes file_row = row_bytes(*info.format, info.columns());
    for (std::int64_t at = 0; at < end - begin; at += RowRounder::rows_together) {
      const std::int64_t count = std::min(end - begin - at, RowRounder::rows_together);
      if (!rounder.round(rows + static_cast<Bytes>(at) * file_row, count,
                         result + static_cast<Bytes>(at) * row))
        throw_not_finite(info, begin + at, begin + at + count);
    }
    return {result, bytes};
  }

 private:
  Context& context_;
  const ModelFile& file_;
  Region staging_;
  Bytes stride_ = 0;
};

std::uint64_t hash_bytes(std::span<const std::uint8_t> bytes) {
  return hash_text({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

/// The same for a file and for what keep_weights() makes of it in these formats.
std::uint64_t fingerprint(Context& context, const ModelFile& file,
                          std::span<const TensorUse> tensors, const Weights::Formats& formats) {
  const Converter converter(context, file, tensors, formats);
  std::vector<std::uint64_t> parts(tensors.size());
  context.threads.parallel_for(
      static_cast<std::int64_t>(tensors.size()), 1,
      [&](std::int64_t begin, std::int64_t end, int worker) {
        for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
          const MatrixSource source = source_of(tensors[i], formats[i]);
          const TensorInfo& info = *source.info;
          const std::uint64_t name = hash_text(info.name);
          // Other rows in each tensor.
          const std::int64_t tiles = (info.rows() + tile_rows - 1) / tile_rows;
          const auto tile =
              static_cast<std::int64_t>(slot_of(name, static_cast<std::size_t>(tiles)));
          const std::int64_t last = std::min((tile + 1) * tile_rows, info.rows());
          const std::string shape =
              fmt::format("{} {} {}", source.format->name, info.rows(), info.columns());
          parts[i] = mix(name ^ hash_text(shape),
                         hash_bytes(converter.convert(source, tile * tile_rows, last, worker)) | 1);
        }
      });
  return hash_bytes(
      {reinterpret_cast<const std::uint8_t*>(parts.data()), parts.size() * sizeof(std::uint64_t)});
}

std::string name_end(std::uint64_t fingerprint) {
  return fmt::format("-{:016x}.gguf", fingerprint);
}

/// What else decides the bytes of a folder's tensors, and of those of another layout.
std::string besides(const Description& d) {
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
  const KnownIdentity known(model.file, besides(model.facts.description));
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
  const std::string ending =
      name_end(fingerprint(context, model.file, tensors, plan.formats));
  const KnownIdentity known(model.file, besides(model.facts.description));
  // Its name is known when the whole model has been read.
  const std::string unnamed = fmt::format("{}/unnamed-{}{}", folder, ::getpid(), ending);
  GgufWriter writer(unnamed);
  writer.add_string("general.architecture", model.facts.description.family);
  // Whole pages, so that dense matrices take no more memory than planned.
  writer.add_integer("general.alignment", page_bytes);
  Weights::Progress state{0, 0};
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const MatrixSource source = source_of(tensors[i], plan.formats[i]);
    const TensorInfo& info = *source.info;
    writer.add_tensor(info.name, *source.format,
                      {info.shape.data(), static_cast<std::size_t>(info.rank)});
    state.total += info.bytes;
  }
  const Converter converter(context, model.file, tensors, plan.formats);
  IdentityHash hash(tensors);
  std::vector<std::span<const std::uint8_t>> results(static_cast<std::size_t>(converter.slots()));
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const MatrixSource source = source_of(tensors[i], plan.formats[i]);
    const std::int64_t rows = source.info->rows(), step = chunk_rows(*source.info);
    for (std::int64_t first = 0; first < rows; first += step * converter.slots()) {
      const std::int64_t chunks =
          std::min<std::int64_t>((rows - first + step - 1) / step, converter.slots());
      context.threads.parallel_for(chunks, 1, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t slot = begin; slot < end; ++slot) {
          const std::int64_t row = first + slot * step;
          results[static_cast<std::size_t>(slot)] = converter.convert(
              source, row, std::min(row + step, rows), static_cast<int>(slot),
              [&](std::span<const std::uint8_t> bytes) { hash.add(i, row, bytes); });
        }
      });
      for (std::int64_t slot = 0; slot < chunks; ++slot)
        writer.write(results[static_cast<std::size_t>(slot)]);
      state.done += static_cast<Bytes>(std::min(rows - first, chunks * step)) *
                    row_bytes(*source.info->format, source.info->columns());
      if (progress) progress(state);
    }
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
