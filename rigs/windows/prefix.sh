#!/bin/bash
# Makes Wine's files for programs (./prefix), in the current folder.
#
# environment: RANDOM_NUMBERS  C source of bcryptprimitives.dll, for a Wine that does not have it
# input files: ./sys and ./bin/wine
set -xeuo pipefail
system=prefix/drive_c/windows/system32
mkdir -p "$system"
# For Wine's own user32, also in helpers that do not search WINEPATH.
cp sys/usr/x86_64-w64-mingw32/lib/zlib1.dll "$system"
WINE_LIMIT=200 bin/wine wineboot -i < /dev/null
if [ ! -e "$system/bcryptprimitives.dll" ]; then
  x86_64-w64-mingw32-gcc-posix -O2 -shared -s "$RANDOM_NUMBERS" -o "$system/bcryptprimitives.dll" -ladvapi32
fi
