#define PLIMSOLL_ISA avx2
#include "kernels/table-inl.h"
