#!/bin/sh
# Tokenizers against their makers' library, as part of `./test hf`:
#   tests/hf/tokenizers/run.sh BUILD_DIR [ARGUMENTS OF judge.py]
# Needs Python and, the first time, an index of Python packages; is skipped where there is none. JUDGES names a virtual
# environment that has what requirements.txt lists already; LLAMA_CPP a source tree of llama.cpp, for its vocabularies.
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
skip() {
  echo "SKIPPED: tokenizers against their makers: $1"
  exit 0
}
if ! "$judges/bin/python" -c 'import tokenizers, gguf, numpy' 2>/dev/null; then
  command -v python3 >/dev/null || skip "no python3 (Debian: apt-get install python3-venv)"
  python3 -m venv "$judges" >/dev/null 2>&1 || skip "python3 makes no virtual environment"
  "$judges/bin/python" -m pip install -q --disable-pip-version-check -r "$here/requirements.txt" >"$out/pip.log" 2>&1 ||
    skip "pip could not install what requirements.txt lists ($out/pip.log)"
fi
shared=$root/../shared
set -- "$@" --prose "$shared/text/valid.txt"
for file in "$shared"/vocab/*.gguf "${LLAMA_CPP:-$root/out/hf/llama.cpp}"/models/ggml-vocab-*.gguf; do
  if [ -f "$file" ]; then
    set -- "$@" --gguf "$file"
  fi
done
status=0
"$judges/bin/python" "$here/unicode_tables.py" "$build/plimsoll" "$out" || status=1
"$judges/bin/python" "$here/judge.py" "$build/plimsoll" "$out" "$@" || status=1
exit $status
