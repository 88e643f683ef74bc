#!/bin/bash
# Unpacks Debian packages into ./sys, in the current folder: the cross compiler and Wine. Nothing is installed.
#
# environment: PACKAGES  names of the packages, separated by blanks
set -xeuo pipefail
apt-get update -qq || echo "the lists of packages stay as they are"
mkdir -p debs/partial sys
read -ra names <<< "$PACKAGES"
apt-get install -qq -y --no-install-recommends --reinstall --download-only \
  -o DPkg::Lock::Timeout=60 -o Dir::Cache::Archives="$PWD/debs" "${names[@]}"
for deb in debs/*.deb; do dpkg -x "$deb" sys; done
rm -r debs
# Wine starts wineserver from its own folder, where the package has a script that knows only the installed path.
ln -sf wineserver64 sys/usr/lib/wine/wineserver
x86_64-w64-mingw32-gcc-posix --version
