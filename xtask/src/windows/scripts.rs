//! The steps of the set-up, and the wrapper for programs. Each runs in the folder of the job.

/// Wine starts `wineserver` from its own folder, where the package has a script that knows only the installed place.
pub const UNPACK: &str = r#"
apt-get update -qq || echo "the lists of packages stay as they are"
mkdir -p debs/partial sys
apt-get install -qq -y --no-install-recommends --reinstall --download-only \
    -o DPkg::Lock::Timeout=60 -o Dir::Cache::Archives="$PLACE/debs" $PACKAGES
for deb in debs/*.deb; do dpkg -x "$deb" sys; done
rm -r debs
ln -sf wineserver64 sys/usr/lib/wine/wineserver
x86_64-w64-mingw32-gcc-posix --version
"#;

/// In a home of its own, so that the user's toolchains stay as they are.
pub const TOOLCHAIN: &str = r#"
export RUSTUP_HOME=$PLACE/rustup
rustup -q toolchain install "$VERSION" --profile minimal -c clippy -t "$GNU" --no-self-update
ln -sfn rustup/toolchains/"$VERSION"-* tc
tc/bin/rustc --version
rustup -q target add --toolchain "$VERSION" "$MSVC" || echo "without $MSVC"
"#;

/// Each wheel holds a part of the same tree.
pub const WHEELS: &str = r#"
python3 -m pip download -q --no-deps --only-binary=:all: --platform win_amd64 --python-version 3.12 -d wheels \
    gstreamer-libs=="$GSTREAMER" gstreamer-ext-runtime=="$GSTREAMER" gstreamer-cli=="$GSTREAMER"
mkdir gst
for wheel in wheels/*.whl; do python3 -m zipfile -e "$wheel" wheels/tree; done
for part in wheels/tree/*.data/purelib/*/; do cp -al "$part". gst/; done
rm -r wheels
ls gst/bin/gst-launch-1.0.exe gst/bin/gstreamer-1.0-0.dll
"#;

/// The wheels have neither import libraries nor files for pkg-config. Of GLib's version a lower bound is said.
pub const IMPORTS: &str = r#"
mkdir -p imp/pc
for dll in gst/bin/{glib,gobject,gio,gmodule,gthread}-2.0-0.dll gst/bin/gst*-1.0-0.dll; do
    library=$(basename "$dll" -0.dll) version=$GSTREAMER needs=gstreamer-1.0
    case $library in
        glib-*) module=$library version=2.80.0 needs= ;;
        *-2.0) module=$library version=2.80.0 needs=glib-2.0 ;;
        gstreamer-1.0) module=$library needs="glib-2.0 gobject-2.0" ;;
        gstbadaudio-*) module=gstreamer-bad-audio-1.0 ;;
        *) module=gstreamer-${library#gst} ;;
    esac
    gendef - "$dll" > imp/exports.def
    x86_64-w64-mingw32-dlltool -m i386:x86-64 -D "${dll##*/}" -d imp/exports.def -l "imp/lib$library.dll.a"
    printf 'Name: %s\nDescription: %s for Windows\nVersion: %s\nRequires: %s\nLibs: -L${pcfiledir}/.. -l%s\n' \
        "$module" "$module" "$version" "$needs" "$library" > "imp/pc/$module.pc"
done
ls imp/pc/gstreamer-{1.0,app-1.0,audio-1.0,base-1.0,video-1.0}.pc
"#;

/// zlib is for Wine's own user32, also in helpers that do not search `WINEPATH`. The standard library takes its random
/// numbers from bcryptprimitives, which Wine 8 does not have.
pub const PREFIX: &str = r#"
system=prefix/drive_c/windows/system32
mkdir -p "$system"
cp sys/usr/x86_64-w64-mingw32/lib/zlib1.dll "$system"
WINE_LIMIT=200 bin/wine wineboot -i < /dev/null
if [ ! -e "$system/bcryptprimitives.dll" ]; then
    cat > random.c << 'END'
#include <windows.h>
#include <ntsecapi.h>
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T size)
{
    for (SIZE_T at = 0; at < size;) {
        ULONG part = size - at < 0x10000000 ? (ULONG)(size - at) : 0x10000000;
        if (!RtlGenRandom(bytes + at, part))
            return FALSE;
        at += part;
    }
    return TRUE;
}
END
    x86_64-w64-mingw32-gcc-posix -O2 -shared -s random.c -o "$system/bcryptprimitives.dll" -ladvapi32
fi
"#;

/// Runs a Windows program; cargo's runner. Wine's helpers live on and hold the output they were started with, so that a reader
/// of a pipe would wait for them: the output goes through files and is shown at the program's end.
pub const WRAPPER: &str = r#"#!/bin/sh
place='@PLACE@' drive='@DRIVE@'
export LD_LIBRARY_PATH="$place/sys/usr/lib/x86_64-linux-gnu:$place/sys/usr/lib/x86_64-linux-gnu/pulseaudio"
export WINEPREFIX="$place/prefix" WINEARCH=win64 WINEDEBUG="${WINEDEBUG:--all}" LANG=C.UTF-8 LC_ALL=C.UTF-8
export WINEDLLOVERRIDES='mscoree,mshtml,winemenubuilder.exe,winealsa.drv,winepulse.drv='
export WINEPATH="$drive\\sys\\usr\\x86_64-w64-mingw32\\lib;$drive\\gst\\bin${WINEPATH:+;$WINEPATH}"
unset DISPLAY WAYLAND_DISPLAY
limit=${WINE_LIMIT:-300} program=
output=$(mktemp -d) || exit 1
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
# Not from a terminal: the program is in a process group of its own, which may not read it.
if [ -t 0 ]; then exec 3< /dev/null; else exec 3<&0; fi
: > "$output/out" 2> "$output/err"
timeout -k 5 "$limit" "$place/sys/usr/lib/wine/wine64" "$@" <&3 3<&- > "$output/out" 2> "$output/err" &
program=$!
wait "$program"
code=$?
program=
case $code in 124 | 137) echo "wine: $1 was killed, or did not end within $limit s" >> "$output/err" ;; esac
exit "$code"
"#;
