# shellcheck shell=sh disable=SC2034
# The Debian packages that building and testing need, and how they come onto the machine. Sourced by ./build and
# ./test; needs nothing but sh, dpkg and apt-get.

build_packages="g++ cmake ninja-build pkg-config libfmt-dev libcli11-dev nlohmann-json3-dev libpcre2-dev \
libutf8proc-dev libhwy-dev libtomlplusplus-dev libgtest-dev libcurl4-openssl-dev libssl-dev ca-certificates libedit-dev \
libxxhash-dev"
fuzz_packages="clang libclang-rt-14-dev"

pull_packages="python3 python3-pip" # ./run smollm2

# Prints those of its arguments that are not installed.
missing_packages() {
  installed=$(dpkg-query -W -f='${db:Status-Status}:${Package}\n' "$@" 2>/dev/null) || : # fails when it has never heard of one
  for package in "$@"; do
    case "
$installed
" in
      *"
installed:$package
"*) ;;
      *) printf '%s ' "$package" ;;
    esac
  done
}

# Installs those of its arguments that are missing; quick when none is. Returns 1 with the command to give where that
# isn't possible.
install_packages() {
  if ! command -v dpkg-query >/dev/null 2>&1; then
    return 0 # not Debian: cmake says what is missing
  fi
  missing=$(missing_packages "$@")
  if [ -z "$missing" ]; then
    return 0
  fi
  if [ "$(id -u)" = 0 ]; then
    as_root="env"
  elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root="sudo -n env"
  elif command -v sudo >/dev/null 2>&1 && [ -t 0 ]; then
    as_root="sudo env" # may ask for a password
  else
    cat >&2 <<EOF
These packages are missing, and installing them needs root:
  ${missing% }
Run this, then try again:
  sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing% }
EOF
    return 1
  fi
  echo "Installing ${missing% }"
  apt="$as_root DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300"
  # A stale list may still do, for instance where only a local mirror of some packages is reachable.
  $apt update || echo "apt-get update failed; trying with the lists that are here" >&2
  # shellcheck disable=SC2086 # words are meant to split
  if ! $apt install -y --no-install-recommends $missing; then
    echo "apt-get could not install: ${missing% }" >&2
    return 1
  fi
}
