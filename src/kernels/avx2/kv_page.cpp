#define PLIMSOLL_ISA avx2
#define HWY_DISABLE_PCLMUL_AES  // not needed, and AVX2 does not imply them
#include "kernels/kv_page-inl.h"

#if HWY_TARGET != HWY_AVX2
#error "the compile flags of this folder do not select the vectors it is named after"
#endif
