#!/bin/bash
# Downloads the newest kernel package of the host's Debian release and unpacks it into ./k, in the current folder.
# Writes the kernel's version into ./version.
#
# usage: fetch-kernel.sh PACKAGE
#   PACKAGE  the meta package that depends on the newest kernel, such as linux-image-amd64
set -e
package=$(apt-cache depends "$1" | awk '/Depends: linux-image-/ {print $2; exit}')
[ -n "$package" ]
version=${package#linux-image-}

rm -rf k ./*.deb
apt-get download -q "$package"
dpkg -x "$package"*.deb k
rm ./*.deb
PATH=$PATH:/usr/sbin:/sbin depmod -b k "$version"
echo "$version" > version
