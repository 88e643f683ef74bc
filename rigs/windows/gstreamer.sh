#!/bin/bash
# Downloads GStreamer for Windows and puts it into ./gst, in the current folder. Each wheel holds a part of the same
# tree.
#
# environment: GSTREAMER  version of the wheels
set -xeuo pipefail
python3 -m pip download -q --no-deps --only-binary=:all: --platform win_amd64 --python-version 3.12 -d wheels \
  gstreamer-libs=="$GSTREAMER" gstreamer-ext-runtime=="$GSTREAMER" gstreamer-cli=="$GSTREAMER"
mkdir gst
for wheel in wheels/*.whl; do python3 -m zipfile -e "$wheel" wheels/tree; done
for part in wheels/tree/*.data/purelib/*/; do cp -al "$part". gst/; done
rm -r wheels
ls gst/bin/gst-launch-1.0.exe gst/bin/gstreamer-1.0-0.dll
