# shellcheck shell=sh
# Memory control groups of one limit, version 1 or 2, whichever the machine mounts. Sourced.
#
# https://www.kernel.org/doc/html/latest/admin-guide/cgroup-v1/memory.html
# https://www.kernel.org/doc/html/latest/admin-guide/cgroup-v2.html

group=
group_version=
group_parent=

# Prints the folders in which a group may be made: below our own, beside it, and at the top.
group_candidates() { # MOUNT_POINT OWN_PATH
  echo "$1$2"
  echo "$1$(dirname "$2")"
  echo "$1"
}

# Finds out once where groups can be made.
find_groups() {
  group_version=none
  own=$(awk -F: '$2 ~ /(^|,)memory(,|$)/ { print $3 }' /proc/self/cgroup)
  if [ -n "$own" ]; then
    mount=$(awk '$3 == "cgroup" && $4 ~ /(^|,)memory(,|$)/ { print $2; exit }' /proc/mounts)
    limit=memory.limit_in_bytes version=1
  else
    own=$(awk -F: '$1 == "0" { print $3 }' /proc/self/cgroup)
    mount=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
    limit=memory.max version=2
  fi
  [ -n "$mount" ] || return 0
  for parent in $(group_candidates "$mount" "$own"); do
    trial=$parent/plimsoll-test-$$
    # Version 2 hands a controller down only where it is asked to, and only from groups without processes.
    [ $version = 1 ] || echo +memory 2>/dev/null >"$parent/cgroup.subtree_control" || true
    mkdir "$trial" 2>/dev/null || continue
    if [ -w "$trial/$limit" ] && /bin/sh -c 'echo $$ >"$1/cgroup.procs"' sh "$trial" 2>/dev/null; then
      group_version=$version group_parent=$parent
    fi
    rmdir "$trial"
    [ $group_version = none ] || return 0
  done
}

has_groups() {
  [ -n "$group_version" ] || find_groups
  [ "$group_version" != none ]
}

# Makes a fresh group without swap; its folder is then $group.
make_group() { # LIMIT_BYTES
  group=$group_parent/plimsoll-test-$$
  mkdir "$group"
  if [ "$group_version" = 1 ]; then
    echo 0 >"$group/memory.swappiness"
    echo "$1" >"$group/memory.limit_in_bytes"
    # Memory and swap together: there only where the kernel counts swap.
    [ ! -f "$group/memory.memsw.limit_in_bytes" ] || echo "$1" >"$group/memory.memsw.limit_in_bytes"
  else
    [ ! -f "$group/memory.swap.max" ] || echo 0 >"$group/memory.swap.max"
    echo "$1" >"$group/memory.max"
  fi
}

# The most that the group has held, file cache included.
group_peak_bytes() {
  if [ "$group_version" = 1 ]; then
    cat "$group/memory.max_usage_in_bytes"
  else
    cat "$group/memory.peak" 2>/dev/null || echo 0 # from Linux 5.19
  fi
}

# A killed process may take a moment to leave.
remove_group() {
  [ -n "$group" ] || return 0
  for _ in 1 2 3 4 5; do
    rmdir "$group" 2>/dev/null && break
    sleep 0.2
  done
  group=
}
