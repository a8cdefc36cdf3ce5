// What a tensor is follows from its role; tensors are found by role, layer and expert.
#include "model/tensors.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace plimsoll {
namespace {

/// Shapes play no part: all matrices have one row.
std::vector<TensorUse> uses_of(std::initializer_list<TensorId> ids) {
  std::vector<TensorUse> uses;
  for (const TensorId& id : ids)
    uses.push_back({{id.role, id.layer, "", 1, 64, true, id.expert}, nullptr});
  return uses;
}

TEST(Tensors, AnUntiedEmbeddingIsOnlyLookedUp) {
  const auto uses = uses_of({{Role::token_embedding},
                             {Role::attention_norm, 0},
                             {Role::q, 0},
                             {Role::down, 0},
                             {Role::output_norm},
                             {Role::output}});
  EXPECT_EQ(find_products(uses), (std::vector<bool>{false, false, true, true, false, true}));
  EXPECT_EQ(find_output(uses), 5u);
}

TEST(Tensors, ATiedEmbeddingIsTheOutput) {
  const auto uses = uses_of({{Role::token_embedding}, {Role::q, 0}, {Role::output_norm}});
  EXPECT_EQ(find_products(uses), (std::vector<bool>{true, true, false}));
  EXPECT_EQ(find_output(uses), 0u);
  EXPECT_TRUE(find_products({}).empty());
  EXPECT_THROW(find_output({}), Error);
}

TEST(Tensors, IdsTellThemApart) {
  const auto uses =
      uses_of({{Role::gate, 3}, {Role::gate, 3, 0}, {Role::gate, 3, 1}, {Role::up, 3}});
  for (std::size_t a = 0; a < uses.size(); ++a)
    for (std::size_t b = 0; b < uses.size(); ++b)
      EXPECT_EQ(uses[a].slot.id() == uses[b].slot.id(), a == b);
}

}  // namespace
}  // namespace plimsoll
