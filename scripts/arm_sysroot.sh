# shellcheck shell=sh disable=SC2034
# Puts Debian's AArch64 packages of the libraries that the build links to into out/arm/sysroot, to be cross-compiled
# against. Downloads with a package list of its own and unpacks without installing, so that the machine's packages stay
# as they are; needs no root. Sourced by ./build.

arm_packages="g++-aarch64-linux-gnu qemu-user"
sysroot_packages="libfmt-dev:arm64 libfmt9:arm64 libpcre2-dev:arm64 libpcre2-8-0:arm64 libutf8proc-dev:arm64 \
libutf8proc2:arm64 libhwy-dev:arm64 libgtest-dev:arm64 libtomlplusplus-dev:arm64 libcurl4-openssl-dev:arm64 \
libssl-dev:arm64 libedit-dev:arm64 libxxhash-dev:arm64 libedit2:arm64 libbsd-dev:arm64 libbsd0:arm64 libmd-dev:arm64 libmd0:arm64 \
libncurses-dev:arm64 libtinfo6:arm64 libcli11-dev nlohmann-json3-dev"

make_arm_sysroot() { # FOLDER
  sysroot=$1/sysroot
  stamp=$1/.sysroot
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$sysroot_packages" ]; then
    return 0
  fi
  if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg-deb >/dev/null 2>&1; then
    echo "Not Debian: put AArch64 builds of the libraries into $sysroot and '$sysroot_packages' into $stamp" >&2
    return 1
  fi
  echo "Fetching AArch64 packages into $sysroot"
  rm -rf "$1/apt" "$sysroot"
  mkdir -p "$1/apt/lists/partial" "$1/apt/cache/archives/partial" "$1/apt/packages" "$sysroot"
  : >"$1/apt/status"
  cat >"$1/apt/apt.conf" <<EOF
APT::Architectures { "$(dpkg --print-architecture)"; "arm64"; };
APT::Sandbox::User "";
Dir::State::lists "$1/apt/lists";
Dir::State::status "$1/apt/status";
Dir::Cache "$1/apt/cache";
EOF
  APT_CONFIG=$1/apt/apt.conf apt-get -q update ||
    echo "apt-get update failed; trying with what it got" >&2
  # shellcheck disable=SC2086 # words are meant to split
  (cd "$1/apt/packages" && APT_CONFIG=$1/apt/apt.conf apt-get -q download $sysroot_packages) || return 1
  for package in "$1"/apt/packages/*.deb; do
    dpkg-deb -x "$package" "$sysroot" || return 1
  done
  rm -rf "$1/apt"
  echo "$sysroot_packages" >"$stamp"
}
