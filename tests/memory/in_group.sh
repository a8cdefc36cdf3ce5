#!/bin/sh
# in_group.sh GROUP_FOLDER COMMAND...: moves itself into the control group and becomes the command.
set -e
echo $$ >"$1/cgroup.procs"
shift
exec "$@"
