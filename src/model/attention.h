// The mixer of most models: grouped-query attention over a KV cache in pages.
#pragma once

#include <cstdint>

#include "model/pass.h"
#include "model/workspace.h"

namespace plimsoll {

/// Of one layer (Vaswani et al., arXiv:1706.03762; grouped heads: Ainslie et al.,
/// arXiv:2305.13245). Not thread-safe. Refers to the workspace.
class Attention {
 public:
  Attention(Workspace& workspace, std::int64_t layer);

  /// Adds the layer's keys and values to the sequences of the pass, and what its tokens attend to to
  /// the residual stream. `angles`: cosines, then sines of this layer's RoPE,
  /// [chunk_tokens][rope_dim / 2] each.
  void run(Pass& pass, const float* angles);

 private:
  void rotate_and_store(const Pass& pass, const float* angles);
  void attend(const Pass& pass);
  void attend(const Pass& pass, std::int64_t head, const Pass::BlockPart& what, int worker);
  /// The same of the queries of `sharers` blocks.
  void attend(const Pass& pass, std::int64_t head, const Pass::BlockPart& what,
              std::int64_t sharers, int worker);
  /// Whether all sharers' pages of a part are the same in this layer.
  bool is_shared(const Pass& pass, const Pass::BlockPart& what) const;
  /// Puts the parts of split queries together.
  void merge_parts(const Pass& pass);
  /// Back from the basis that keys and values are kept in.
  void rotate_back(float* heads);
  /// Outputs and state of a head in one part of a split query.
  float* part_output(const Pass& pass, const Pass::BlockPart& what, std::int64_t head) const;
  float* part_state(const Pass& pass, const Pass::BlockPart& what, std::int64_t head) const;
  /// The first part that a block's first query sees.
  std::int64_t first_part(const Pass::QueryBlock& block) const;

  Workspace& workspace_;
  const Description& description_;
  const Kernels& kernels_;
  std::int64_t layer_;
  std::int64_t window_;
  std::vector<const KvPageView*> views_;  ///< by sequence of the pass
};

}  // namespace plimsoll
