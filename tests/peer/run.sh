#!/bin/sh
# The suite `peer`: Plimsoll against llama.cpp (packaged in node-llama-cpp) on the same files. Makes models from BUILD_DIR
# with plimsoll_make_model; compare.mjs says what is compared. Skips where the shared inputs or Node.js are missing.
# Needs the targets plimsoll, plimsoll_make_model and plimsoll_dump_logits.
#
#   tests/peer/run.sh [BUILD_DIR [text|tokens|likelihood|families]...]     BUILD_DIR: default out/release
#
# PLIMSOLL_SHARED names the folder of shared inputs (default: ../shared beside the checkout).
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:-$root/out/release}" && pwd)
[ $# -eq 0 ] || shift
. "$root/scripts/peer.sh"
work=$peer_folder

for program in plimsoll plimsoll_make_model plimsoll_dump_logits; do
  if [ ! -x "$build/$program" ]; then
    echo "tests/peer/run.sh: $build/$program is missing; build it first" >&2
    exit 1
  fi
done

prepare_peer "suite peer"
# Modules are looked for beside the script, so it has to lie beside them.
cp "$root"/tests/peer/*.mjs "$work/"
exec node "$work/compare.mjs" "$build" "$shared" "$work/models" "$@"
