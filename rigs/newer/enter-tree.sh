#!/bin/sh
# Makes the project visible inside a Debian tree and runs a program there.
# Runs as root in a mount namespace of its own: the mounts end with the namespace.
#
# usage: enter-tree.sh TREE ROOT TARGET COMMAND...
#   TREE    the Debian tree
#   ROOT    the workspace; TARGET its build directory: both keep their paths inside the tree
#   COMMAND a program with absolute paths below ROOT or TARGET, and its arguments
# environment: is passed on, but for paths
set -e
tree=$1 root=$2 target=$3
shift 3

mount --rbind /dev "$tree/dev"
mount -t proc proc "$tree/proc"
mount -t tmpfs tmpfs "$tree/tmp"
for shared in "$root" "$target"; do
  mkdir -p "$tree$shared"
  mount --bind "$shared" "$tree$shared"
done
exec chroot "$tree" env HOME=/tmp TMPDIR=/tmp PATH=/usr/bin:/bin G_DEBUG=fatal-criticals SHM2_SKIPPED=/tmp/skipped \
  "$@"
