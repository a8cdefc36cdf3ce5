#!/bin/sh
# The last part of the suite `arm`: does the AArch64 program, emulated, agree with what this machine's own program does with
# its reference kernels? With the bundled model as it is (dense products) and in block formats (products over planes, of many
# tokens in prompts and one by one in answers):
#
#   - the same greedy text. A short one: at some near tie any two orders of summation part;
#   - the same negative log-likelihood of a text, within 0.0001 nats dense and 0.01 in block formats, where a sum's last bit
#     can decide how an activation is rounded to 8 bits, and that the next ones.
#
#   tests/arm/run.sh ARM_BUILD NATIVE_BUILD       both with plimsoll, NATIVE_BUILD with plimsoll_make_model
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
arm=$(cd "$1" && pwd)
native=$(cd "$2" && pwd)
bundled=$root/models/plimsoll-docs-4m-f16.gguf
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

# Runs a command of one of the two programs, quietly unless it fails.
reference() { # ARGS
  PLIMSOLL_ISA=reference "$native/plimsoll" "$@" 2>"$work/log" || { cat "$work/log" >&2; return 1; }
}
neon() { # ARGS
  PLIMSOLL_ISA=neon qemu-aarch64 -cpu max -L /usr/aarch64-linux-gnu "$arm/plimsoll" "$@" 2>"$work/log" ||
    { cat "$work/log" >&2; return 1; }
}

text() { # KERNELS MODEL
  "$1" run "$2" --raw --prompt "A budget of memory is a number of bytes, and the kernel is its judge. " --tokens 24 \
    --temperature 0 --threads 2
}
likelihood() { # KERNELS MODEL
  "$1" eval "$2" --text "$root/docs/design.md" --context 128 --chunks 2 --threads 2 --json >"$work/json"
  sed -n 's/.*"nll": *\([0-9.]*\).*/\1/p' "$work/json"
}

failed=
for format in F16 Q8_0 Q4_K IQ4_NL; do
  if [ "$format" = F16 ]; then
    model=$bundled
    limit=0.0001
  else
    model=$work/$format.gguf
    limit=0.01
    "$native/plimsoll_make_model" "$model" --requantise "$bundled" --format "$format" >"$work/log"
  fi
  text reference "$model" >"$work/expected"
  text neon "$model" >"$work/found"
  if [ ! -s "$work/expected" ] || ! cmp -s "$work/expected" "$work/found"; then
    echo "$format: expected:" >&2
    cat "$work/expected" >&2
    printf '\n%s: found:\n' "$format" >&2
    cat "$work/found" >&2
    echo >&2
    failed=1
    continue
  fi
  expected=$(likelihood reference "$model")
  found=$(likelihood neon "$model")
  if awk -v a="$expected" -v b="$found" -v limit="$limit" 'BEGIN { d = a - b; exit !(a > 0 && d < limit && -d < limit) }'; then
    echo "$format: the same text, negative log-likelihood $found (reference $expected)"
  else
    echo "$format: negative log-likelihood $found, expected $expected within $limit" >&2
    failed=1
  fi
done
[ -z "$failed" ]
