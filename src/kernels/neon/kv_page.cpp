#define PLIMSOLL_ISA neon
#include "kernels/kv_page-inl.h"

#if HWY_TARGET != HWY_NEON && HWY_TARGET != HWY_NEON_WITHOUT_AES
#error "the compile flags of this folder do not select the vectors it is named after"
#endif
