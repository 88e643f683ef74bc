#!/bin/bash
# Builds the kernel module v4l2loopback for the kernel in ./k, in the current folder: ./v4l2loopback.ko.
#
# usage: build-loopback.sh TREE
#   TREE    root directory of a Debian whose package of v4l2loopback is new enough (0.13); the module's source is its
# input: ./version, made by fetch-kernel.sh; the kernel's headers are those of the host's release
set -e
tree=$1
version=$(cat version)

rm -rf h m
mkdir h m
cd h
apt-get download -q "linux-headers-$version"
common=$(dpkg-deb -f "linux-headers-${version}"_*.deb Depends | grep -oE 'linux-headers-[^ ]*-common|linux-kbuild-[^ ]*')
# shellcheck disable=SC2086  # Each package is a word.
apt-get download -q $common
for package in ./*.deb; do dpkg -x "$package" .; done
rm ./*.deb
# The packages expect each other in /usr/src.
sed -i "s|^include /usr/src/|include $PWD/usr/src/|" "usr/src/linux-headers-$version/Makefile"
cd ..

chroot "$tree" sh -c 'cd /var/tmp && rm -f v4l2loopback-dkms_*.deb && apt-get download -q v4l2loopback-dkms'
dpkg -x "$tree"/var/tmp/v4l2loopback-dkms_*.deb m
rm "$tree"/var/tmp/v4l2loopback-dkms_*.deb
make -C "h/usr/src/linux-headers-$version" "M=$(echo "$PWD"/m/usr/src/v4l2loopback-*)" modules
mv m/usr/src/v4l2loopback-*/v4l2loopback.ko .
rm -rf h m
