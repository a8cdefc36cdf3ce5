#!/bin/sh
# What ./run does before the program: with a stand-in for ./build, in a tree of its own.
# usage: run_test.sh SOURCE_DIR
set -eu
source=$1
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
cp "$source/run" "$tree/run"
mkdir -p "$tree/src/base" "$tree/cmake" "$tree/scripts" "$tree/elsewhere"
for file in src/base/a.cpp cmake/a.cmake scripts/a.sh CMakeLists.txt CMakePresets.json; do
  : >"$tree/$file"
done
# Counts its calls; the program that it "builds" prints its arguments.
cat >"$tree/build" <<'BUILD'
#!/bin/sh
set -eu
root=$(cd "$(dirname "$0")" && pwd)
echo "build output"
echo call >>"$root/calls"
[ ! -f "$root/broken" ] || exit 1
mkdir -p "$root/out/release"
: >"$root/out/release/.building"
printf '#!/bin/sh\necho "$@"\n' >"$root/out/release/plimsoll"
chmod +x "$root/out/release/plimsoll"
mv "$root/out/release/.building" "$root/out/release/.built"
BUILD
chmod +x "$tree/build"

failed=0
# expect CALLS STATUS STDERR-PATTERN: of one ./run, what was called since the last, and what it said.
expect() {
  : >"$tree/calls"
  status=0
  (cd "$tree/elsewhere" && ../run --prompt 'two words') >"$tree/out.txt" 2>"$tree/err.txt" || status=$?
  calls=$(wc -l <"$tree/calls")
  out=$(cat "$tree/out.txt")
  [ "$status" != 0 ] || [ "$out" = "run --prompt two words" ] || { echo "$4: printed $out" && failed=1; }
  [ "$calls" = "$1" ] || { echo "$4: $calls builds, not $1" && failed=1; }
  [ "$status" = "$2" ] || { echo "$4: status $status, not $2" && failed=1; }
  if [ -z "$3" ]; then
    [ ! -s "$tree/err.txt" ] || { echo "$4: not silent: $(cat "$tree/err.txt")" && failed=1; }
  else
    grep -q "$3" "$tree/err.txt" || { echo "$4: says $(cat "$tree/err.txt")" && failed=1; }
  fi
}

expect 1 0 'build output' 'first run'
expect 0 0 '' 'nothing has changed'
for file in src/base/a.cpp cmake/a.cmake scripts/a.sh CMakeLists.txt CMakePresets.json build; do
  sleep 0.01
  touch "$tree/$file"
  expect 1 0 '' "a changed $file"
  expect 0 0 '' "after a changed $file"
done
sleep 0.01
: >"$tree/src/base/b.cpp"
expect 1 0 '' 'a new source'
sleep 0.01
rm "$tree/src/base/b.cpp"
expect 1 0 '' 'a removed source'
: >"$tree/out/release/.building"
expect 1 0 '' 'a build that did not end'
expect 0 0 '' 'after that'
rm "$tree/out/release/plimsoll"
: >"$tree/broken"
expect 1 1 'build output' 'a build that fails'
rm "$tree/broken"
expect 1 0 'build output' 'a build after one that failed'
expect 0 0 '' 'the end'
exit "$failed"
