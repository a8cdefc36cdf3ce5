#!/bin/sh
# with_limit.sh LIMIT_BYTES PEAK_FILE COMMAND...: runs the command inside a fresh memory control group of that limit, without
# swap, and writes the most that the group held to PEAK_FILE. Where no group can be made the command runs as it is, and
# PEAK_FILE says "none".
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/control_group.sh"
most_bytes=$1 peak_file=$2
shift 2
if ! has_groups; then
  echo none >"$peak_file"
  exec "$@"
fi
trap remove_group EXIT
trap 'exit 1' INT TERM
make_group "$most_bytes"
status=0
# shellcheck disable=SC2154 # group is set by make_group
"$here/in_group.sh" "$group" "$@" || status=$?
group_peak_bytes >"$peak_file"
exit $status
