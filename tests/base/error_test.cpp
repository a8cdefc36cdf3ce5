#include "base/error.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace plimsoll {
namespace {

TEST(Error, NamesAreDistinctSnakeCase) {
  std::set<std::string> names;
  const int count = static_cast<int>(ErrorCode::internal) + 1;
  for (int i = 0; i < count; ++i) {
    const std::string text(name(static_cast<ErrorCode>(i)));
    EXPECT_EQ(text.find_first_not_of("abcdefghijklmnopqrstuvwxyz_"), std::string::npos) << text;
    names.insert(text);
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(count));
  EXPECT_EQ(name(ErrorCode::budget_refused), "budget_refused");
}

TEST(Error, ExitCodes) {
  EXPECT_EQ(exit_code(ErrorCode::usage), 2);
  EXPECT_EQ(exit_code(ErrorCode::budget_refused), 3);
  EXPECT_EQ(exit_code(ErrorCode::budget_exceeded), 1);
  EXPECT_EQ(exit_code(ErrorCode::file_corrupt), 1);
  EXPECT_EQ(exit_code(ErrorCode::internal), 1);
}

TEST(Error, CarriesMessageAndHint) {
  const Error error(ErrorCode::file_corrupt, "wanted 3, found 2", "fetch it again");
  EXPECT_EQ(error.code(), ErrorCode::file_corrupt);
  EXPECT_EQ(error.message(), "wanted 3, found 2");
  EXPECT_EQ(error.hint(), "fetch it again");
}

}  // namespace
}  // namespace plimsoll
