#!/bin/sh
# Makes a fresh root from a tree of Debian and runs a script on it. Nothing of it is left: its layer is in memory, and
# its mounts are in the mount namespace of this process, which runs as root in namespaces of its own.
#
# usage: root.sh TREE PACKAGES PROJECT COMMAND...
#   TREE      the tree, and TREE.archives the packages of Debian that were fetched before
#   PACKAGES  the folder with new/ and old/; PROJECT the workspace: /mnt/packages and /mnt/project in the root
#   COMMAND   gets the path of the root as its last argument
set -eu
tree=$1 packages=$2 project=$3
shift 3
layer=$tree.layer root=$tree.layer/root
mkdir -p "$layer" "$tree.archives/partial"
mount -t tmpfs -o size=3g,mode=755 tmpfs "$layer"
mkdir "$layer/upper" "$layer/work" "$root"
mount -t overlay overlay -o "lowerdir=$tree,upperdir=$layer/upper,workdir=$layer/work" "$root"
cp /etc/resolv.conf "$root/etc/resolv.conf"
mkdir "$root/mnt/packages" "$root/mnt/project"
mount --bind "$packages" "$root/mnt/packages"
mount --bind "$project" "$root/mnt/project"
mount --bind "$tree.archives" "$root/var/cache/apt/archives"
# A group of its own for all that systemd makes inside; it ends with the last process.
groups=/sys/fs/cgroup
[ -d $groups/unified ] && groups=$groups/unified
group=$groups/shm2-packages-${tree##*/}
if mkdir -p "$group" 2>/dev/null; then
  echo $$ >"$group/cgroup.procs"
fi
code=0
"$@" "$root" || code=$?
if [ -d "$group" ]; then
  echo $$ >"$groups/cgroup.procs"
fi
# systemd-nspawn makes groups of the same name in systemd's own hierarchy, where there is one.
for left in "$group" "/sys/fs/cgroup/systemd/${group##*/}"; do
  if [ -d "$left" ]; then
    find "$left" -depth -type d -exec rmdir {} + || true
  fi
done
exit "$code"
