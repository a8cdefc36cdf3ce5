#define PLIMSOLL_ISA neon
#include "kernels/table-inl.h"
