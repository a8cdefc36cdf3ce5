#!/bin/sh
# The examples do what they say:  examples_test.sh ANSWER LOGITS MODEL
set -eu
text=$("$1" "$3" 32 "The kernel" 2>/dev/null)
[ -n "$text" ]
if "$1" "$3" 3 "The kernel" >/dev/null 2>&1; then
  echo "an answer within 3 MiB" >&2
  exit 1
fi
"$1" "$3" 3 "The kernel" >/dev/null 2>&1 || [ $? -eq 3 ]
rows=$("$2" "$3" "The kernel" | grep -c ' % ')
[ "$rows" -eq 5 ]
