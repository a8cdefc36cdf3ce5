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
shared=${PLIMSOLL_SHARED:-$root/../shared}
work=$root/out/peer

skip() {
  echo "SKIPPED: suite peer: $1"
  exit 0
}
[ -f "$shared/peer/package.json" ] || skip "no $shared/peer (set PLIMSOLL_SHARED)"
command -v node >/dev/null || skip "no node (Debian: apt-get install nodejs npm)"
for program in plimsoll plimsoll_make_model plimsoll_dump_logits; do
  if [ ! -x "$build/$program" ]; then
    echo "tests/peer/run.sh: $build/$program is missing; build it first" >&2
    exit 1
  fi
done

mkdir -p "$work"
for file in package.json package-lock.json; do
  cmp -s "$shared/peer/$file" "$work/$file" || install -m 644 "$shared/peer/$file" "$work/$file"
done
if [ ! -d "$work/node_modules/node-llama-cpp" ]; then
  command -v npm >/dev/null || skip "no npm (Debian: apt-get install npm)"
  echo "Installing llama.cpp's package into $work ..."
  (cd "$work" && npm install --ignore-scripts --no-audit --no-fund --loglevel=error) ||
    skip "npm could not install node-llama-cpp"
fi
# Modules are looked for beside the script, so it has to lie beside them.
cp "$root"/tests/peer/*.mjs "$work/"
exec node "$work/compare.mjs" "$build" "$shared" "$work/models" "$@"
