// Numbers as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace plimsoll {

/// "4.26 million", "1.24 billion", "2,304".
std::string format_count(double count);
/// "12,345" from 1,000 on, three significant digits below.
std::string format_rate(double rate);
/// "1,234".
std::string grouped(std::int64_t value);

}  // namespace plimsoll
