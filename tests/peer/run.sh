#!/bin/sh
# The suite `peer`: Plimsoll against llama.cpp on the same files, twice: compiled for this machine (native.py, which opens every
# type of file) and as packaged in node-llama-cpp (compare.mjs, which compares whole distributions of any model, position by
# position). Makes models from BUILD_DIR with plimsoll_make_model. Each skips by itself where inputs or the peer cannot be had.
# Needs the targets plimsoll, plimsoll_make_model and plimsoll_dump_logits.
#
#   tests/peer/run.sh [BUILD_DIR [native|npm [PART]...]]     BUILD_DIR: default out/release
#
# Parts of both: text, tokens, likelihood; of npm also families. PLIMSOLL_SHARED names the folder of shared inputs (default:
# ../shared beside the checkout), PLIMSOLL_NATIVE_PEER and PLIMSOLL_SMOLLM2 what is there already (scripts/).
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:-$root/out/release}" && pwd)
[ $# -eq 0 ] || shift
which=${1:-both}
case $which in
  native | npm) shift ;;
  both) ;;
  *)
    echo "tests/peer/run.sh: '$which' is neither native nor npm" >&2
    exit 2
    ;;
esac
. "$root/scripts/peer.sh"
. "$root/scripts/native_peer.sh"
. "$root/scripts/hf_judge.sh"
. "$root/scripts/smollm2.sh"
work=$peer_folder

for program in plimsoll plimsoll_make_model plimsoll_dump_logits; do
  if [ ! -x "$build/$program" ]; then
    echo "tests/peer/run.sh: $build/$program is missing; build it first" >&2
    exit 1
  fi
done

compare_native() {
  [ -f "$shared/models/stories260k-f32.gguf" ] || {
    echo "SKIPPED: suite peer, native: no $shared/models (set PLIMSOLL_SHARED)"
    exit 0
  }
  prepare_native_peer "suite peer, native"
  prepare_judge "suite peer, native"
  # Laid out by the suite smollm2; not worth a download here.
  mkdir -p "$work/models"
  echo "The peer: llama.cpp compiled for this machine"
  "$judge_python" "$root/tests/peer/native.py" "$build" "$shared" "$native_peer_bin" "$work/models" \
    "$root/tests/peer/texts.json" "$smollm2/smollm2.gguf" "$@"
}

compare_npm() {
  prepare_peer "suite peer, npm"
  # Modules are looked for beside the script, so it has to lie beside them.
  cp "$root"/tests/peer/*.mjs "$root/tests/peer/texts.json" "$work/"
  echo "The peer: llama.cpp as packaged in node-llama-cpp"
  node "$work/compare.mjs" "$build" "$shared" "$work/models" "$@"
}

status=0
if [ "$which" != npm ]; then
  (compare_native "$@") || status=1
fi
if [ "$which" != native ]; then
  (compare_npm "$@") || status=1
fi
exit $status
