#!/bin/sh
# Texts against the line, as part of the suite `memory`: whatever is given to `tokenize`, `run` and `eval`, endless or without
# a place where it could be cut, ends in tokens or in a message, and never in a kill. Each command runs inside a memory
# control group of just its --memory, without swap; where no group can be made (needs root), only its own count is looked at.
#
#   tests/memory/text.sh [BUILD_DIR [VOCABULARY.gguf...]]     BUILD_DIR: default out/release
#
# VOCABULARY: beside the bundled model (by scores), files whose words are cut by expressions.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:-$root/out/release}" && pwd)
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- "$root"/../shared/vocab/gpt-2.gguf "$root"/../shared/vocab/deepseek-coder.gguf
plimsoll=$build/plimsoll
bundled=$root/models/plimsoll-docs-4m-f16.gguf
if [ ! -x "$plimsoll" ]; then
  echo "tests/memory/text.sh: $plimsoll is missing; build it first" >&2
  exit 1
fi
work=$(mktemp -d)
export XDG_CACHE_HOME="$work/cache"
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
failures=0
mib=1048576

# Letters of "acgt" without a break, always the same.
letters() { # BYTES
  awk -v n="$1" 'BEGIN { srand(1); for (i = 0; i < n; i += 64) { s = ""; for (k = 0; k < 64; ++k) s = s substr("acgt", 1 + int(4 * rand()), 1); printf "%s", s } }'
}
prose() { # BYTES
  yes 'The kernel writes every page that it has changed to the disk, and the ship may not be loaded beyond its line.' | head -c "$1"
}

# Runs a command whose input is $work/input in a group of MIB; it may end with the exit codes in WANTED.
check() { # NAME MIB WANTED COMMAND...
  name=$1 limit=$2 wanted=$3
  shift 3
  status=0
  "$root/tests/memory/with_limit.sh" $((limit * mib)) "$work/peak" "$@" <"$work/input" >/dev/null 2>"$work/err" || status=$?
  case " $wanted " in
    *" $status "*) echo "ok    $name in $limit MiB: exit $status, peak $(cat "$work/peak")" ;;
    *)
      echo "WRONG $name in $limit MiB: exit $status (wanted $wanted), peak $(cat "$work/peak"): $(tail -c 300 "$work/err")" >&2
      failures=$((failures + 1))
      ;;
  esac
}

letters $((8 * mib)) >"$work/letters"
prose $((40 * mib)) >"$work/prose"
tr '\n' ' ' <"$work/prose" >"$work/spaces"

# A long piece as a prompt: longer than the context, which is said.
head -c $((8 * mib)) "$work/letters" >"$work/input"
check "run, 8 MiB of letters" 200 1 "$plimsoll" run "$bundled" --memory 200MiB --tokens 1
head -c "$mib" "$work/letters" >"$work/input"
check "run, 1 MiB of letters" 32 1 "$plimsoll" run "$bundled" --memory 32MiB --tokens 1
head -c 200000 "$work/letters" >"$work/input"
check "eval, 200 kB of letters" 32 0 "$plimsoll" eval "$bundled" --memory 32MiB --text "$work/input"

for model in "$bundled" "$@"; do
  [ -f "$model" ] || continue
  what=$(basename "$model" .gguf)
  # The vocabulary itself is held.
  room=36
  [ "$model" != "$bundled" ] || room=24
  for text in prose spaces; do
    cp "$work/$text" "$work/input"
    check "tokenize with $what, 40 MiB of $text" "$room" 0 "$plimsoll" tokenize "$model" --memory "${room}MiB"
  done
  # In pieces where they can be cut, otherwise refused.
  cp "$work/letters" "$work/input"
  check "tokenize with $what, 8 MiB of letters" "$room" "0 3" "$plimsoll" tokenize "$model" --memory "${room}MiB"
  check "tokenize --json with $what, 8 MiB of letters" "$room" "0 3" "$plimsoll" tokenize "$model" --memory "${room}MiB" --json
  # Endless: cut by some vocabularies (until time is up), refused with others.
  echo >"$work/input"
  check "tokenize with $what, zeros without end" "$room" "3 124" timeout 4 "$plimsoll" tokenize "$model" --memory "${room}MiB" --file /dev/zero
  check "tokenize --json with $what, zeros without end" "$room" 3 "$plimsoll" tokenize "$model" --memory "${room}MiB" --file /dev/zero --json
done
head -c $((64 * mib)) /dev/zero >"$work/input"
check "tokenize --json-lines, a line of 64 MiB" 32 3 "$plimsoll" tokenize "$bundled" --memory 32MiB --json-lines
[ "$failures" -eq 0 ] || exit 1
