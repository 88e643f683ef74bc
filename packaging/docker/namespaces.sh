#!/bin/sh
# Runs a command as an engine runs a container, without an engine: with its own /dev/shm of 64 MiB, its own process ids,
# IPC and host name, as a user without privileges, and with a folder of the host at /mnt. Root runs it.
#
# namespaces.sh FOLDER rw|ro USER[:GROUP] COMMAND...
set -eu
if [ $# -lt 4 ]; then
  echo "usage: $0 FOLDER rw|ro USER[:GROUP] COMMAND..." >&2
  exit 2
fi
folder=$1 access=$2 user=${3%:*} group=${3#*:}
shift 3
# Its folder may be closed to other users.
program=$(command -v "$1")
shift
# The inner shell expands its own parameters.
# shellcheck disable=SC2016
exec unshare --mount --pid --ipc --uts --fork --kill-child --mount-proc sh -euc '
  folder=$1 access=$2 user=$3 group=$4 programs=$5 program=$6
  shift 6
  mount --bind "$folder" /mnt
  mount -o "remount,bind,$access" /mnt
  mount -t tmpfs -o size=64m,mode=1777 shm /dev/shm
  mount --bind "$programs" /opt
  # As in an image that is mounted read-only.
  mount -o remount,bind,ro /
  cd /
  # A change of the user would end what --kill-child asks for.
  exec setpriv --reuid="$user" --regid="$group" --clear-groups --no-new-privs --bounding-set=-all --pdeathsig KILL \
    "/opt/$program" "$@"
' sh "$folder" "$access" "$user" "$group" "$(dirname "$program")" "$(basename "$program")" "$@"
