#!/bin/sh
# Lays out libshm2 as pkg-config finds it, from what cargo built, for systems without the package libshm2-dev.
#
# usage: prefix.sh BUILT PREFIX
#   BUILT   folder of libshm2_c.so, such as target/release
#   PREFIX  folder to make; then PKG_CONFIG_PATH=PREFIX/lib/pkgconfig
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
built=$1
mkdir -p "$2/lib/pkgconfig" "$2/include"
prefix=$(cd "$2" && pwd)
# A program that has the old file open keeps it.
cp --remove-destination "$built/libshm2_c.so" "$prefix/lib/libshm2.so.0"
ln -sf libshm2.so.0 "$prefix/lib/libshm2.so"
cp "$root/crates/capi/include/shm2.h" "$root/crates/capi/include/shm2.hpp" "$prefix/include"
version=$(sed -n 's/^#define SHM2_VERSION "\(.*\)"/\1/p' "$prefix/include/shm2.h")
sed -e "s|^prefix=.*|prefix=$prefix|" -e "s|/@TRIPLET@||" -e "s/@VERSION@/$version/" \
  "$root/packaging/debian/shm2.pc.in" >"$prefix/lib/pkgconfig/shm2.pc"
