#!/bin/bash
# Unpacks Debian packages of another architecture into a folder. Nothing is installed, no program of them is run, and
# this system's list of architectures stays as it is: apt gets a configuration and a state of its own.
#
# usage: sysroot.sh FOLDER
# environment: MIRROR, RELEASE, ARCHITECTURE, and PACKAGES: names separated by blanks
set -euo pipefail
folder=$1
work=$folder.work
rm -rf "$folder" "$work"
mkdir -p "$folder" "$work"/{state/lists/partial,cache/archives/partial,etc/parts}
touch "$work/state/status"
keys=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keys] $MIRROR $RELEASE main" >"$work/etc/sources.list"
cat >"$work/apt.conf" <<END
APT::Architecture "$ARCHITECTURE";
APT::Architectures { "$ARCHITECTURE"; };
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Dir::State "$work/state";
Dir::State::status "$work/state/status";
Dir::Cache "$work/cache";
Dir::Etc::SourceList "$work/etc/sources.list";
Dir::Etc::SourceParts "$work/etc/parts";
END
export APT_CONFIG=$work/apt.conf
apt-get update -qq
read -ra names <<<"$PACKAGES"
apt-get install -qq -y --download-only "${names[@]}"
# As in a system: the folders at the root are links into usr.
for name in bin sbin lib; do
  mkdir -p "$folder/usr/$name"
  ln -s "usr/$name" "$folder/$name"
done
for deb in "$work"/cache/archives/*.deb; do
  dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink --no-same-owner -C "$folder"
done
# Links with absolute targets would lead to files of this system.
find "$folder" -type l -lname '/*' | while read -r link; do
  ln -sfn --relative "$folder$(readlink "$link")" "$link"
done
# What update-alternatives would link.
for name in blas lapack; do
  libraries=("$folder"/usr/lib/*/"$name/lib$name.so.3")
  if [ -e "${libraries[0]}" ]; then ln -sfn "$name/lib$name.so.3" "${libraries[0]%/*/*}/lib$name.so.3"; fi
done
rm -rf "$work" "$folder/usr/share/"{doc,man,locale}
