#!/bin/sh
# Makes the files of the packages that are neither in the repository nor built by cargo: manual pages, completions, the
# static library and the file for pkg-config; unpacks the wheel of the Python package.
#
# usage: stage.sh RELEASE VERSION [WHEEL PYTHON-RELEASE]
#   RELEASE  target/release, with the built programs; PYTHON-RELEASE the same of bindings/python
#   VERSION  of the project
set -eu
here=$(dirname "$0") release=$1 version=$2
triplet=$(dpkg-architecture -q DEB_HOST_MULTIARCH)
staged=$release/packaging

rm -rf "$staged"
mkdir -p "$staged/shm2-tools/man" "$staged/shm2-relayd/man" "$staged/shm2-rtspd/man" "$staged/shm2-camera/man" \
  "$staged/shm2-zenoh/man" "$staged/libshm2-dev"

"$release/shm2" man --output "$staged/shm2-tools/man"
for program in shm2_producer shm2_consumer; do
  "$release/$program" --man >"$staged/shm2-tools/man/$program.1"
done
"$release/shm2_relayd" --man >"$staged/shm2-relayd/man/shm2_relayd.1"
"$release/shm2_rtspd" --man >"$staged/shm2-rtspd/man/shm2_rtspd.1"
# Of the command `shm2 camera` as well. It comes with the program that does the work.
rm "$staged/shm2-tools/man/shm2-camera.1"
"$release/shm2-camera" --man >"$staged/shm2-camera/man/shm2-camera.1"
"$release/shm2_zenoh" --man >"$staged/shm2-zenoh/man/shm2_zenoh.1"
gzip -9n "$staged"/*/man/*.1
for shell in bash zsh fish; do
  "$release/shm2" completions "$shell" >"$staged/shm2-tools/shm2.$shell"
done

cp "$release/libshm2_c.a" "$staged/libshm2-dev/libshm2.a"
strip --strip-debug --enable-deterministic-archives "$staged/libshm2-dev/libshm2.a"
sed -e "s/@TRIPLET@/$triplet/" -e "s/@VERSION@/$version/" "$here/shm2.pc.in" >"$staged/libshm2-dev/shm2.pc"

[ $# -gt 2 ] || exit 0
wheel=$3 modules=$4/packaging/python3-shm2
rm -rf "$modules"
mkdir -p "$modules"
python3 -m zipfile -e "$wheel" "$modules"
# Of installers only: the package manager has its own list of files, and the licences are in copyright.
rm -rf "$modules"/*.dist-info/RECORD "$modules"/*.dist-info/licenses "$modules"/*.dist-info/sboms
echo dpkg >"$(echo "$modules"/*.dist-info)/INSTALLER"
