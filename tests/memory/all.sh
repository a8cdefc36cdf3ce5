#!/bin/sh
# The suite `memory`: all of it, or parts.
#
#   tests/memory/all.sh BUILD_DIR [PART...]
#
# PART: models (run.sh), texts (text.sh), or one of commands.py.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$1
shift
failed=
run() {
  "$@" || failed="$failed $(basename "$1")"
}
if [ $# -eq 0 ]; then
  run "$root/tests/memory/text.sh" "$build"
  run "$root/tests/memory/run.sh" "$build"
  run "$root/tests/memory/commands.py" "$build"
fi
for part in "$@"; do
  case $part in
    models) run "$root/tests/memory/run.sh" "$build" ;;
    texts) run "$root/tests/memory/text.sh" "$build" ;;
    *) run "$root/tests/memory/commands.py" "$build" --only "$part" ;;
  esac
done
if [ -n "$failed" ]; then
  echo "Failed:$failed" >&2
  exit 1
fi
