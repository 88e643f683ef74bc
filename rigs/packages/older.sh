#!/bin/sh
# Makes packages of an older version out of those of this one, with another configuration file.
#
# usage: older.sh FROM TO VERSION
#   FROM, TO  folders; VERSION the older version
set -eu
from=$1 to=$2 version=$3
rm -rf "$to"
mkdir -p "$to"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for deb in "$from"/*.deb; do
  tree=$work/${deb##*/}
  dpkg-deb --raw-extract "$deb" "$tree"
  sed -i -e "s/^Version: .*/Version: $version/" -e "s/(= [^)]*)/(= $version)/" "$tree/DEBIAN/control"
  if [ -e "$tree/etc/shm2/camera.toml" ]; then
    echo '# Of the older version.' >>"$tree/etc/shm2/camera.toml"
  fi
  dpkg-deb --root-owner-group -Zgzip -z1 --build "$tree" "$to/" >/dev/null
done
