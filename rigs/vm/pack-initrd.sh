#!/bin/bash
# Packs the guest's initial files into ./initrd, in the current folder: busybox, an init script, and kernel modules with
# what these depend on. The modules are numbered in the order in which they have to be inserted.
#
# usage: pack-initrd.sh INIT MODULE...
#   INIT    the script that becomes /init
#   MODULE  name of a kernel module
# input files: ./k and ./version, made by fetch-kernel.sh
set -e
init=$1
shift

rm -rf i
mkdir -p i/bin i/proc i/sys i/dev i/mod i/r
cp "$(command -v busybox)" i/bin/
cp "$init" i/init
chmod +x i/init

number=100
for module; do
  for file in $(PATH=$PATH:/usr/sbin:/sbin modprobe -d k -S "$(cat version)" --show-depends "$module" |
    awk '$1 == "insmod" {print $2}'); do
    name=$(basename "$file")
    # Shared dependencies are listed once for each module.
    if ! compgen -G "i/mod/*-$name" > /dev/null; then
      cp "$file" "i/mod/$number-$name"
      number=$((number + 1))
    fi
  done
done

cd i
find . | cpio -o -H newc --quiet | gzip -1 > ../initrd
