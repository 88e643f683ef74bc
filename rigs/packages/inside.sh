#!/bin/sh
# Runs a script in a root, with its own /proc, /dev/shm and /tmp.
#
# usage: unshare --mount --pid --fork --kill-child sh inside.sh ROOT SCRIPT...
#   SCRIPT  a path inside the root, and its arguments
set -eu
root=$1
shift
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
exec chroot "$root" env -i HOME=/root TMPDIR=/tmp PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
  DEBIAN_FRONTEND=noninteractive sh "$@"
