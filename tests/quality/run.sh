#!/bin/sh
# The suite `quality`: what fitted files lose, judged by llama.cpp, against what was predicted and against what its own recipes
# lose at the same number of bytes. Of the bundled model, judged by llama.cpp as packaged in node-llama-cpp: fitted.mjs says what
# is compared. Of a real one, judged by llama.cpp compiled for this machine: the part `real` (real.py), an hour or more, which
# keeps what it made in out/real and goes on from there; `real recipes` makes only llama.cpp's files. Skips where inputs or
# judges cannot be had. Needs the targets plimsoll and plimsoll_make_model.
#
#   tests/quality/run.sh [BUILD_DIR [sizes|targets|prior|feedback|nesting|families]... | real [recipes]]
#
# BUILD_DIR: default out/release. Without a part, all but `real`.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:-$root/out/release}" && pwd)
[ $# -eq 0 ] || shift
. "$root/scripts/peer.sh"

for program in plimsoll plimsoll_make_model; do
  if [ ! -x "$build/$program" ]; then
    echo "tests/quality/run.sh: $build/$program is missing; build it first" >&2
    exit 1
  fi
done

if [ "${1:-}" = real ]; then
  shift
  . "$root/scripts/native_peer.sh"
  . "$root/scripts/hf_judge.sh"
  . "$root/scripts/smollm2.sh"
  prepare_smollm2 "suite quality, real"
  prepare_native_peer "suite quality, real"
  prepare_judge "suite quality, real" sentencepiece==0.2.1
  prepare_real_work "suite quality, real"
  exec "$judge_python" "$root/tests/quality/real.py" "$build" "$smollm2" "$native_peer_bin" "$native_peer_source" \
    "$real_calibration" "$real_held_out" "$real_work" "$@"
fi

prepare_peer "suite quality"
# Modules are looked for beside the script, so it has to lie beside them.
cp "$root"/tests/peer/*.mjs "$root"/tests/quality/*.mjs "$peer_folder/"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
export XDG_CACHE_HOME="$work/cache"
node "$peer_folder/fitted.mjs" "$build" "$root/models/plimsoll-docs-4m-f16.gguf" "$shared" "$work" "$@"
