# shellcheck shell=sh
# Prints how many compilers may run side by side: one a processor, and about 1 GiB of memory for each. Sourced.

build_jobs() {
  processors=$(nproc 2>/dev/null || echo 1)
  gib=$(awk '/^MemAvailable:/ { print int($2 / 1048576) }' /proc/meminfo 2>/dev/null)
  for file in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
    if [ -r "$file" ]; then
      gib=$(awk -v gib="${gib:-1}" '/^[0-9]/ { own = int($1 / 1073741824); if (own < gib) gib = own } END { print gib }' \
        "$file")
    fi
  done
  if [ "${gib:-1}" -lt "$processors" ]; then
    processors=${gib:-1}
  fi
  if [ "$processors" -lt 1 ]; then
    processors=1
  fi
  echo "$processors"
}
