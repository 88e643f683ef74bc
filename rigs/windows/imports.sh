#!/bin/bash
# Makes import libraries (./imp) and files for pkg-config (./imp/pc) for the libraries in ./gst, in the current
# folder: the wheels have neither. The version given for GLib is a lower bound.
#
# environment: GSTREAMER  version of GStreamer
set -xeuo pipefail
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
  cat > "imp/pc/$module.pc" << END
Name: $module
Description: $module for Windows
Version: $version
Requires: $needs
Libs: -L\${pcfiledir}/.. -l$library
END
done
ls imp/pc/gstreamer-{1.0,app-1.0,audio-1.0,base-1.0,video-1.0}.pc
