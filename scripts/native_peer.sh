# shellcheck shell=sh disable=SC2034
# The native peer: llama.cpp compiled for this very machine, with its tools. Sourced, after root is set. It is the fair one
# for speed, opens every type of GGUF file, and makes the files that fitted ones are compared with. Its source, pinned, comes
# with the Python package llama-cpp-python.
#
# PLIMSOLL_NATIVE_PEER names a folder that has it already (llama.cpp/b/bin in it); nothing is compiled then.

native_peer_package=llama-cpp-python==0.3.36
native_peer_programs="llama-bench llama-completion llama-imatrix llama-perplexity llama-quantize llama-server llama-tokenize"
native_peer_folder=${PLIMSOLL_NATIVE_PEER:-$root/out/peer/native}
native_peer_source=$native_peer_folder/llama.cpp
native_peer_bin=$native_peer_source/b/bin

has_native_peer() {
  for program in $native_peer_programs; do
    [ -x "$native_peer_bin/$program" ] || return 1
  done
}

# Compiles the peer where it isn't yet, a quarter of an hour on two processors. Returns 1, with native_peer_lacks saying
# why, where that can't be.
make_native_peer() {
  if has_native_peer; then
    return 0
  fi
  if [ -n "${PLIMSOLL_NATIVE_PEER:-}" ]; then
    native_peer_lacks="PLIMSOLL_NATIVE_PEER: no $native_peer_bin with $native_peer_programs"
    return 1
  fi
  for program in python3 cmake ninja c++; do
    if ! command -v $program >/dev/null; then
      native_peer_lacks="no $program (Debian: apt-get install python3-pip cmake ninja-build g++)"
      return 1
    fi
  done
  mkdir -p "$native_peer_folder"
  native_peer_log=$native_peer_folder/log
  echo "Compiling llama.cpp of $native_peer_package into $native_peer_folder (log beside it) ..." >&2
  (
    exec 9>"$native_peer_folder/.lock"
    if command -v flock >/dev/null; then
      flock 9
    fi
    unpack_native_peer && compile_native_peer
  ) >"$native_peer_log" 2>&1 || native_peer_lacks="see $native_peer_log: $(tail -n 1 "$native_peer_log")"
  has_native_peer
}

unpack_native_peer() {
  [ ! -f "$native_peer_source/CMakeLists.txt" ] || return 0
  fresh=$native_peer_folder/fresh
  rm -rf "$fresh"
  mkdir "$fresh"
  # pip asks an archive for its dependencies even where none are wanted, for which it installs a build system aside.
  python3 -m pip download -q --disable-pip-version-check --no-deps --no-binary llama-cpp-python -d "$fresh" \
    "$native_peer_package" &&
    tar -xzf "$fresh"/*.tar.gz -C "$fresh" &&
    rm -rf "$native_peer_source" &&
    mv "$fresh"/*/vendor/llama.cpp "$native_peer_source" &&
    rm -rf "$fresh"
}

compile_native_peer() {
  # shellcheck disable=SC2086 # words are meant to split
  cmake -S "$native_peer_source" -B "$native_peer_source/b" -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
    -DBUILD_SHARED_LIBS=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_WEBUI=OFF &&
    ninja -C "$native_peer_source/b" $native_peer_programs
}

# Without what the peer takes prints one line and exits 0: nothing can be compared then.
prepare_native_peer() { # NAME
  if ! make_native_peer; then
    echo "SKIPPED: $1: no native llama.cpp: $native_peer_lacks"
    exit 0
  fi
}
