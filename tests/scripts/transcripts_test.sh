#!/bin/sh
# scripts/transcripts.py: what it takes for true, and what it rewrites; with a stand-in for the program.
# usage: transcripts_test.sh SOURCE_DIR
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/plimsoll" <<'PROGRAM'
#!/bin/sh
case $1 in
  text) echo "whatever it likes $$" && echo "took $$ s" >&2 ;;
  lines) echo one && echo two && echo "three $$" ;;
  tty) [ -t 1 ] && printf 'half\rwhole \033[31mred\033[0m\n' ;;
  here) pwd ;;
esac
PROGRAM
chmod +x "$folder/plimsoll"
failed=0
# expect STATUS NAME [OPTIONS]: of the file on standard input, which is left in $folder/page.md.
expect() {
  cat >"$folder/page.md"
  status=$1 name=$2 found=0
  shift 2
  python3 "$source/scripts/transcripts.py" --binary "$folder/plimsoll" "$@" "$folder/page.md" >"$folder/log" 2>&1 || found=$?
  [ "$found" = "$status" ] || { echo "$name: status $found, not $status: $(cat "$folder/log")" && failed=1; }
}
source=$1

expect 0 'numbers vary' <<'PAGE'
```console
$ plimsoll lines
one
two
three 99,999
```
PAGE
expect 1 'another line' <<'PAGE'
```console
$ plimsoll lines
one
too
three 9
```
PAGE
expect 1 'a line is missing' <<'PAGE'
```console
$ plimsoll lines
one
three 9
```
PAGE
expect 0 'lines left out' <<'PAGE'
```console
$ plimsoll lines
one
...
```
PAGE
expect 0 'text is free, the rest is not' <<'PAGE'
```console text
$ plimsoll text
something else
took 3 s
```
PAGE
expect 1 'text is free, the rest is not' <<'PAGE'
```console text
$ plimsoll text
something else
lasted 3 s
```
PAGE
expect 0 'a terminal' <<'PAGE'
```console tty
$ plimsoll tty
whole red
```
PAGE
expect 0 'models that are not there' <<'PAGE'
```console
$ plimsoll lines no-such-model.gguf
anything
```
PAGE
grep -q 'left alone' "$folder/log" || { echo "a missing model is not said" && failed=1; }
expect 0 'other blocks, and those that take long' <<'PAGE'
```
$ plimsoll lines
```
```console slow
$ plimsoll lines
```
PAGE
expect 1 'those that take long' --slow <<'PAGE'
```console slow
$ plimsoll lines
```
PAGE
expect 0 'an update' --update <<'PAGE'
before
```console
$ plimsoll \
  tty
nothing
$ echo a   # stays
a
```
after
PAGE
cat >"$folder/expected" <<'PAGE'
before
```console
$ plimsoll \
  tty
$ echo a   # stays
a
```
after
PAGE
cmp "$folder/page.md" "$folder/expected" || failed=1
exit "$failed"
