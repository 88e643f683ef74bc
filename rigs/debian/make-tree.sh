#!/bin/sh
# Makes the tree of a Debian release. Runs as root in mount and process namespaces of its own: what debootstrap mounts and
# starts ends with them. The tree has another name until it is complete.
#
# usage: make-tree.sh RELEASE TREE MIRROR SCRIPT [PACKAGE...]
#   SCRIPT  debootstrap's script for the release; PACKAGE what is installed beside the minimum
# exit codes: 3 what an earlier attempt left cannot be removed, 4 debootstrap or apt-get failed
set -eu
release=$1 tree=$2 mirror=$3 script=$4
shift 4
# Another task may have made it while this one waited.
[ ! -e "$tree/etc/shm2-complete" ] || exit 0
half=$tree.half
# Never into what is still mounted there.
rm -rf --one-file-system "$half" "$tree" || exit 3
# debootstrap takes no path with blanks.
mkdir "$half"
mount --bind "$half" /mnt
debootstrap --variant=minbase "$release" /mnt "$mirror" "$script" || exit 4
if [ $# -gt 0 ]; then
  chroot /mnt apt-get install -q -y --no-install-recommends "$@" || exit 4
fi
: >/mnt/etc/shm2-complete
umount -R -l /mnt
mv "$half" "$tree"
