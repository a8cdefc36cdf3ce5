#include "app/host.h"

#include "base/error.h"

namespace plimsoll {

void Watch::check() const {
  if (!goes_on()) throw Error(ErrorCode::interrupted, "stopped");
}

}  // namespace plimsoll
