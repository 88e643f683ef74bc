#!/bin/sh
# Adds to a package what cargo-deb cannot: a synopsis of its own, the version of packages of the same build, check sums,
# and for a library the files by which other packages and the linker find it. The exported symbols of a library must be
# those of PACKAGE.symbols: a new one is added there, and a missing one breaks programs. Programs and libraries must be
# position-independent, have full RELRO, and be stripped.
#
# usage: finish.sh DEB
set -eu
here=$(dirname "$0") deb=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree
dpkg-deb --raw-extract "$deb" "$tree"
control=$tree/DEBIAN/control
package=$(sed -n 's/^Package: //p' "$control")
version=$(sed -n 's/^Version: //p' "$control")

sed -i '/^Description:/,$d' "$control"
sed -i "s/\${binary:Version}/$version/" "$control"
# dpkg-shlibdeps names the version that has the symbols. Tested is 1.22 and newer.
sed -i -E '/^Depends:/s/(libgst[a-z0-9.-]*) \(>= 1\.(1?[0-9]|2[01])(\.[0-9.]+)?\)/\1 (>= 1.22)/g' "$control"
printf 'Source: shm2\nDescription: ' >>"$control"
cat "$here/$package.description" >>"$control"

if [ -e "$here/$package.symbols" ]; then
  library=$(find "$tree/usr/lib" -name '*.so.*' -type f)
  file=${library##*/}
  chmod 644 "$library"
  echo "${file%.so.*} ${file##*.so.} $package (>= ${version%-*})" >"$tree/DEBIAN/shlibs"
  echo 'activate-noawait ldconfig' >"$tree/DEBIAN/triggers"
  mkdir "$work/debian"
  printf 'Source: shm2\n\nPackage: %s\nArchitecture: any\n' "$package" >"$work/debian/control"
  symbols=$(realpath "$here/$package.symbols")
  (cd "$work" && dpkg-gensymbols -q -c4 -p"$package" -v"$version" -e"$library" -I"$symbols" -O"$tree/DEBIAN/symbols") || {
    echo "the symbols of $file are not those of packaging/debian/$package.symbols" >&2
    exit 1
  }
fi

find "$tree/usr" -type f \( -path '*/bin/*' -o -name '*.so' -o -name '*.so.*' \) | while read -r file; do
  if ! readelf --wide --program-headers "$file" | grep -q GNU_RELRO ||
    ! readelf --dynamic "$file" | grep -q BIND_NOW ||
    ! readelf --file-header "$file" | grep -q 'Type:.*DYN' ||
    readelf --wide --sections "$file" | grep -q '\.symtab'; then
    echo "$file is not hardened and stripped" >&2
    exit 1
  fi
done

(cd "$tree" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
chmod 644 "$tree/DEBIAN/md5sums"
size=$(du -sk --apparent-size --exclude=DEBIAN "$tree" | cut -f 1)
sed -i "s/^Installed-Size: .*/Installed-Size: $size/" "$control"
dpkg-deb --root-owner-group -Zxz -z4 --build "$tree" "$work/new.deb" >/dev/null
mv "$work/new.deb" "$deb"
