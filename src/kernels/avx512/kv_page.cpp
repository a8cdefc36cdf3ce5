#define PLIMSOLL_ISA avx512
#include "kernels/kv_page-inl.h"

// Highway 1.0.3 asks for AVX-VNNI, which Zen 4 lacks, before it calls a target AVX3_DL. Float code
// gains nothing from it.
#if HWY_TARGET != HWY_AVX3 && HWY_TARGET != HWY_AVX3_DL
#error "the compile flags of this folder do not select the vectors it is named after"
#endif
