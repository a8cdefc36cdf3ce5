# Cross-builds for AArch64 on another Debian machine, and runs what it built under user-mode emulation. The libraries
# come from out/arm/sysroot (scripts/arm_sysroot.sh), the C and C++ libraries with the cross compiler. A build on an
# AArch64 machine needs none of this.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

get_filename_component(PLIMSOLL_SYSROOT "${CMAKE_CURRENT_LIST_DIR}/../out/arm/sysroot" ABSOLUTE)
set(CMAKE_FIND_ROOT_PATH "${PLIMSOLL_SYSROOT}" /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)

# pkg-config leaves out what it takes for the compiler's own folders, unless told that they are not.
set(ENV{PKG_CONFIG_LIBDIR}
    "${PLIMSOLL_SYSROOT}/usr/lib/aarch64-linux-gnu/pkgconfig:${PLIMSOLL_SYSROOT}/usr/share/pkgconfig")
set(ENV{PKG_CONFIG_SYSROOT_DIR} "${PLIMSOLL_SYSROOT}")
set(ENV{PKG_CONFIG_ALLOW_SYSTEM_CFLAGS} 1)
set(ENV{PKG_CONFIG_ALLOW_SYSTEM_LIBS} 1)

set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -cpu max -L /usr/aarch64-linux-gnu)
