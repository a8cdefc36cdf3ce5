#define PLIMSOLL_ISA reference
#include "kernels/table-inl.h"
