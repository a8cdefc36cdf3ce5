#!/bin/sh
# Tokenizers against their makers' library, as part of `./test hf`:
#   tests/hf/tokenizers/run.sh BUILD_DIR [ARGUMENTS OF judge.py]
# Needs Python and, the first time, an index of Python packages; says so and stops where there is none. JUDGES names a virtual
# environment that has what requirements.txt lists already.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../../.." && pwd)
build=$1
shift
case $build in
  /*) ;;
  *) build=$root/$build ;;
esac
out=$root/out/hf-tokenizers
judges=${JUDGES:-$out/judges}
mkdir -p "$out"
if ! "$judges/bin/python" -c 'import tokenizers, gguf, sentencepiece' 2>/dev/null; then
  python3 -m venv "$judges"
  "$judges/bin/python" -m pip --quiet install -r "$here/requirements.txt"
fi
shared=$root/../shared
set -- "$@" --prose "$shared/text/valid.txt"
for file in "$shared"/vocab/*.gguf "${PLIMSOLL_PEER_SOURCE:-$root/out/peer/llama.cpp}"/models/ggml-vocab-*.gguf; do
  if [ -f "$file" ]; then
    set -- "$@" --gguf "$file"
  fi
done
status=0
"$judges/bin/python" "$here/unicode_tables.py" "$build/plimsoll" "$out" || status=1
"$judges/bin/python" "$here/judge.py" "$build/plimsoll" "$out" "$@" || status=1
exit $status
