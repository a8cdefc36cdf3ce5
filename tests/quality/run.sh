#!/bin/sh
# The suite `quality`: what fitted files lose, judged by llama.cpp (packaged in node-llama-cpp), against what was predicted and
# against what its own recipes lose at the same number of bytes. fitted.mjs says what is compared. Skips where the shared
# inputs or Node.js are missing. Needs the targets plimsoll and plimsoll_make_model.
#
#   tests/quality/run.sh [BUILD_DIR [sizes|targets|prior|feedback|nesting|families]...]     BUILD_DIR: default out/release
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

prepare_peer "suite quality"
# Modules are looked for beside the script, so it has to lie beside them.
cp "$root"/tests/peer/*.mjs "$root"/tests/quality/*.mjs "$peer_folder/"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
export XDG_CACHE_HOME="$work/cache"
node "$peer_folder/fitted.mjs" "$build" "$root/models/plimsoll-docs-4m-f16.gguf" "$shared" "$work" "$@"
