#!/bin/sh
# Runs a Windows program under Wine; cargo's runner. The installation links to this file as bin/wine: it is called by
# that path, from which it finds the other files.
#
# Wine's helpers keep running and hold the output that they were started with, which would block a reader of a pipe.
# Therefore the output goes to files, and is shown when the program ends.
#
# usage: bin/wine PROGRAM [ARGUMENT...]
# environment: WINE_LIMIT  seconds after which the program is killed (300)
#              WINEDEBUG, WINEPATH  as Wine knows them
folder=$(CDPATH='' cd "$(dirname "$0")/.." && pwd) || exit 1
drive=Z:$(printf %s "$folder" | sed 's|/|\\|g')
export LD_LIBRARY_PATH="$folder/sys/usr/lib/x86_64-linux-gnu:$folder/sys/usr/lib/x86_64-linux-gnu/pulseaudio"
export WINEPREFIX="$folder/prefix" WINEARCH=win64 WINEDEBUG="${WINEDEBUG:--all}" LANG=C.UTF-8 LC_ALL=C.UTF-8
export WINEDLLOVERRIDES='mscoree,mshtml,winemenubuilder.exe,winealsa.drv,winepulse.drv='
export WINEPATH="$drive\\sys\\usr\\x86_64-w64-mingw32\\lib;$drive\\gst\\bin${WINEPATH:+;$WINEPATH}"
unset DISPLAY WAYLAND_DISPLAY

limit=${WINE_LIMIT:-300} program=
output=$(mktemp -d) || exit 1
# shellcheck disable=SC2317 # called by the trap
finish() {
  [ -z "$program" ] || { kill "$program"; wait "$program"; } 2> /dev/null
  cat "$output/out"
  cat "$output/err" >&2
  rm -rf "$output"
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# The program is in a process group of its own, which may not read from a terminal.
if [ -t 0 ]; then exec 3< /dev/null; else exec 3<&0; fi
: > "$output/out" 2> "$output/err"
timeout -k 5 "$limit" "$folder/sys/usr/lib/wine/wine64" "$@" <&3 3<&- > "$output/out" 2> "$output/err" &
program=$!
wait "$program"
code=$?
program=
case $code in 124 | 137) echo "wine: $1 was killed, or did not end within $limit s" >> "$output/err" ;; esac
exit "$code"
