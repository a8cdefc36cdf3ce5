#!/bin/sh
# The suite `smollm2`: a real model, SmolLM2-135M-Instruct as a GGUF file and as folders, held against llama.cpp compiled for
# this machine and against transformers; its plans, losses, refusals and conversations. smollm2.py says what is compared.
# Skips where the model or its judges cannot be had. Needs the targets plimsoll and plimsoll_dump_logits.
#
#   tests/smollm2/run.sh [BUILD_DIR [PART]...]     BUILD_DIR: default out/release
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:-$root/out/release}" && pwd)
[ $# -eq 0 ] || shift
. "$root/scripts/peer.sh"
. "$root/scripts/native_peer.sh"
. "$root/scripts/hf_judge.sh"
. "$root/scripts/smollm2.sh"

for program in plimsoll plimsoll_dump_logits; do
  if [ ! -x "$build/$program" ]; then
    echo "tests/smollm2/run.sh: $build/$program is missing; build it first" >&2
    exit 1
  fi
done

prepare_smollm2 "suite smollm2"
prepare_native_peer "suite smollm2"
prepare_judge "suite smollm2" sentencepiece==0.2.1
prepare_real_work "suite smollm2"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM
# Nothing that was measured of the model before counts.
export XDG_CACHE_HOME="$scratch/cache"
"$judge_python" "$root/tests/smollm2/smollm2.py" "$root" "$build" "$smollm2" "$native_peer_bin" "$native_peer_source" \
  "$real_held_out" "$real_work" "$@"
