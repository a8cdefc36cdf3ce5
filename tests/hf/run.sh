#!/bin/sh
# The suite `hf`: Plimsoll against `transformers`, which the families' folders are written for. Makes tiny random models in
# out/hf and compares logits (compare.py); then gives every key of the families' configuration classes other values
# (keys.py). Installs the judge into out/hf/venv once; skips where pip cannot. Needs plimsoll and plimsoll_dump_logits.
#
#   tests/hf/run.sh [BUILD_DIR [models|keys|tokenizers]...]     BUILD_DIR: default out/release
#
# Models are compared as GGUF too, where llama.cpp's source tree is: LLAMA_CPP names it (default: out/hf/llama.cpp, where the
# source archive of the Python package llama-cpp-python is unpacked once).
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
build=$(CDPATH='' cd -- "${1:-$root/out/release}" && pwd)
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- models keys tokenizers
. "$root/scripts/hf_judge.sh"

for program in plimsoll plimsoll_dump_logits; do
  if [ ! -x "$build/$program" ]; then
    echo "tests/hf/run.sh: $build/$program is missing; build it first" >&2
    exit 1
  fi
done
prepare_judge "suite hf"

llama_cpp=${LLAMA_CPP:-$root/out/hf/llama.cpp}
archive=llama_cpp_python-0.3.36
if [ ! -f "$llama_cpp/convert_hf_to_gguf.py" ] && [ -z "${LLAMA_CPP:-}" ]; then
  work=$root/out/hf/archive
  mkdir -p "$work"
  if "$judge_python" -m pip download -q --disable-pip-version-check --no-deps --no-build-isolation --no-binary :all: -d "$work" \
    "llama-cpp-python==0.3.36" >"$work/pip.log" 2>&1; then :; fi # it may fail after the download, at what building takes
  if [ -f "$work/$archive.tar.gz" ] && tar -xzf "$work/$archive.tar.gz" -C "$work"; then
    mv "$work/$archive/vendor/llama.cpp" "$llama_cpp"
  fi
  rm -rf "$work"
fi
if [ ! -f "$llama_cpp/convert_hf_to_gguf.py" ]; then
  echo "SKIPPED: suite hf: models as GGUF: no llama.cpp source tree (set LLAMA_CPP)"
  llama_cpp=
fi

# Nothing is asked of any hub.
export HF_HUB_OFFLINE=1 HF_HOME="$root/out/hf/home" TOKENIZERS_PARALLELISM=false
failed=
for part in "$@"; do
  case $part in
    models) "$judge_python" "$root/tests/hf/compare.py" "$build" "$root/out/hf/models" ${llama_cpp:+"$llama_cpp"} || failed="$failed models" ;;
    keys) "$judge_python" "$root/tests/hf/keys.py" "$build" "$root/out/hf/keys" || failed="$failed keys" ;;
    tokenizers) "$root/tests/hf/tokenizers/run.sh" "$build" || failed="$failed tokenizers" ;;
    *)
      echo "tests/hf/run.sh: no part $part (models, keys, tokenizers)" >&2
      exit 2
      ;;
  esac
done
if [ -n "$failed" ]; then
  echo "Failed:$failed" >&2
  exit 1
fi
