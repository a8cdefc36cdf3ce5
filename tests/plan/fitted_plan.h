// A model of the llama family as its header would say, for tests of plans, with what rounding it
// costs.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <deque>

#include "model/weights.h"
#include "plan/plan.h"

namespace plimsoll {

class FittedPlan : public ::testing::Test {
 protected:
  FittedPlan() { describe(2048, 16, FormatId::F16); }

  void describe(std::int64_t width, std::int64_t layers, FormatId format_id) {
    facts_ = {};
    infos_.clear();
    Description& d = facts_.description;
    d.layers = layers;
    d.width = width;
    d.heads = width / 64;
    d.kv_heads = std::max<std::int64_t>(1, d.heads / 4);
    d.head_dim = 64;
    d.feed_forward = width * 3;
    d.vocabulary = 32000;
    d.trained_context = 8192;
    d.rope_dim = 64;
    d.ropes.resize(1);
    d.per_layer.resize(static_cast<std::size_t>(layers));
    std::uint64_t offset = 4096 + 32;
    for (const TensorSlot& slot : tensor_slots(d)) {
      const Format& of_slot = format(slot.is_vector() ? FormatId::F32 : format_id);
      TensorInfo info{};
      info.format = &of_slot;
      info.rank = slot.is_vector() ? 1 : 2;
      info.shape = {slot.columns, slot.rows, 1, 1};
      info.offset = offset;
      info.bytes = static_cast<Bytes>(slot.rows) * row_bytes(of_slot, slot.columns);
      offset += info.bytes;
      infos_.push_back(info);
      facts_.tensors.push_back({slot, &infos_.back()});
      facts_.parameters += slot.rows * slot.columns;
      facts_.file_tensor_bytes += info.bytes;
    }
    facts_.weight_bytes = Weights::memory_bytes(facts_.tensors);
    facts_.staging_bytes_per_worker = Weights::staging_bytes(facts_.tensors, 1);
    facts_.text_bytes = 3 * MiB;
  }

  /// Errors that fall by four for each bit; deeper layers mind less.
  QualityModel quality() const {
    QualityModel model;
    model.source = QualitySource::text;
    for (const TensorUse& use : facts_.tensors) {
      TensorQuality tensor;
      tensor.sensitivity = use.slot.is_vector() ? 0 : 0.4 / static_cast<double>(use.slot.layer + 2);
      for (const Rounding rounding : {Rounding::plain, Rounding::with_feedback})
        for (const Format& f : formats())
          tensor.error(f, rounding) =
              &f == use.info->format
                  ? 0
                  : std::pow(4, -8.0 * f.block_bytes / static_cast<double>(f.block_values));
      model.tensors.push_back(std::move(tensor));
    }
    return model;
  }

  PlanRequest request(Bytes budget, std::optional<std::int64_t> context = {},
                      WeightPolicy policy = WeightPolicy::fit) const {
    PlanRequest request;
    request.budget = budget;
    request.context = context;
    request.threads = 2;
    request.runtime_bytes = 6 * MiB;
    request.policy = policy;
    request.quality = quality();
    return request;
  }

  Plan plan(Bytes budget, std::optional<std::int64_t> context = {},
            WeightPolicy policy = WeightPolicy::fit) const {
    return make_plan(facts_, request(budget, context, policy));
  }

  std::deque<TensorInfo> infos_;
  ModelFacts facts_;
};

}  // namespace plimsoll
