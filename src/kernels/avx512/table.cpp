#define PLIMSOLL_ISA avx512
#include "kernels/table-inl.h"
