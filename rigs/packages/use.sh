#!/bin/sh
# Uses what the packages installed: elements, tools, library, Python, and the files of the relay.
# Is checked on its own.
# shellcheck source=/dev/null
. /mnt/project/rigs/packages/prelude.sh
set -eu
cd /tmp
HOME=/tmp
export HOME
triplet=$(gcc -dumpmachine)
caps=video/x-raw,format=GRAY8,width=64,height=48,framerate=50/1
frame=3072

elements() {
  for element in shm2sink shm2src; do
    gst-inspect-1.0 $element >/dev/null || fail "no $element"
  done
  dpkg-query -W -f '${Depends}' gstreamer1.0-shm2 | grep -q 'libgstreamer1.0-0[t64]* (>= 1.22)' ||
    fail "gstreamer1.0-shm2 does not depend on GStreamer 1.22"
  # In Debian 12 /lib is named, which is a link to /usr/lib.
  plugin=$(realpath "$(gst-inspect-1.0 shm2 | sed -n 's/ *Filename *//p')")
  [ "$plugin" = "/usr/lib/$triplet/gstreamer-1.0/libgstshm2.so" ] || fail "the plugin is $plugin"
  gst-launch-1.0 -q videotestsrc is-live=true ! $caps ! shm2sink shm-path=/dev/shm/camera &
  producer=$!
  timeout 20 gst-launch-1.0 -q shm2src shm-path=/dev/shm/camera num-buffers=100 ! filesink location=frames
  [ "$(stat -c %s frames)" = $((100 * frame)) ] || fail "100 frames are $(stat -c %s frames) bytes"
  ok "shm2sink to shm2src in another process: 100 frames, GStreamer $(gst-inspect-1.0 --version | sed -n 's/.* //;1p;q')"
}

tools() {
  shm2 list | grep -q camera || fail "shm2 list does not show the region: $(shm2 list)"
  shm2 inspect /dev/shm/camera --json | grep -q "\"producer_pid\":$producer" || fail "shm2 inspect: no $producer"
  shm2 snapshot /dev/shm/camera -o picture.png >/dev/null
  [ "$(head -c 8 picture.png | od -An -c | tr -d ' ')" = '211PNG\r\n032\n' ] || fail "shm2 snapshot made no PNG"
  for page in shm2 shm2-list shm2_producer shm2_consumer shm2_relayd shm2_rtspd shm2_zenoh; do
    gzip -cd "/usr/share/man/man1/$page.1.gz" | grep -q '^\.SH NAME' || fail "no manual page of $page"
  done
  # The script defines the function that it registers.
  bash -c '. /usr/share/bash-completion/completions/shm2; complete -p shm2' | grep -q shm2 || fail "no completions"
  for script in zsh/vendor-completions/_shm2 fish/vendor_completions.d/shm2.fish; do
    [ -s "/usr/share/$script" ] || fail "no $script"
  done
  shm2_producer /dev/shm/numbered 500 --quiet >/dev/null &
  shm2_consumer /dev/shm/numbered 500 --json >numbered.json || fail "shm2_consumer: $(cat numbered.json)"
  ok "shm2 list, inspect, snapshot; shm2_producer to shm2_consumer; manual pages and completions"
}

library() {
  examples=/usr/share/doc/libshm2-dev/examples
  # Word splitting is meant: options for the compiler.
  # shellcheck disable=SC2046
  cc -std=c11 -Wall -Werror $examples/consumer.c -o consumer $(pkg-config --cflags --libs shm2)
  readelf -d consumer | grep -q 'NEEDED.*libshm2\.so\.0' || fail "the program does not need libshm2.so.0"
  [ "$(timeout 20 ./consumer /dev/shm/camera 20 | grep -c GRAY8)" = 20 ] || fail "the program in C did not get 20 frames"
  # shellcheck disable=SC2046
  c++ -std=c++17 -Wall -Werror $examples/producer.cpp -o producer $(pkg-config --cflags --libs shm2)
  # shellcheck disable=SC2046
  cc -std=c11 $examples/consumer.c -o static -static $(pkg-config --static --cflags --libs shm2) 2>static.log ||
    fail "static: $(cat static.log)"
  # shellcheck disable=SC2046
  cc -std=c11 $examples/consumer.c -o partly $(pkg-config --cflags shm2) -l:libshm2.a -lm
  ! readelf -d static partly | grep 'NEEDED.*libshm2' || fail "a static program needs libshm2.so"
  ./producer /dev/shm/colours 50 &
  [ "$(timeout 20 ./static /dev/shm/colours 20 | grep -c RGBx)" = 20 ] || fail "C++ to C, static: not 20 frames"
  [ "$(pkg-config --modversion shm2)-1" = "$(dpkg-query -W -f '${Version}' libshm2-dev)" ] || fail "shm2.pc: version"
  [ "$(timeout 20 ./partly /dev/shm/camera 20 | grep -c GRAY8)" = 20 ] || fail "C with libshm2.a: not 20 frames"
  ok "C and C++ by pkg-config, shared and static, with frames of an element and of each other"
}

python() {
  dpkg-query -W python3-shm2 >/dev/null 2>&1 || {
    echo "skipped: Python: the package was not made"
    return
  }
  /usr/bin/python3 - <<'END' || fail "frames from an element to Python"
import importlib.metadata, shm2
assert importlib.metadata.version("shm2") == shm2.__version__
assert shm2.__file__ == "/usr/lib/python3/dist-packages/shm2/__init__.py", shm2.__file__
count = 0
with shm2.Consumer("/dev/shm/camera", timeout=10) as consumer:
    for frame in consumer:
        assert frame.array.shape == (48, 64), frame.array.shape
        count += 1
        if count == 50:
            break
END
  /usr/bin/python3 - <<'END' &
import numpy, shm2, time
with shm2.Producer("/dev/shm/python", format="GRAY8", size=(64, 48), rate=50) as out:
    for number in range(1000):
        out.send(numpy.full((48, 64), number % 256, dtype=numpy.uint8))
        time.sleep(0.02)
END
  timeout 20 gst-launch-1.0 -q shm2src shm-path=/dev/shm/python num-buffers=50 ! filesink location=python
  [ "$(stat -c %s python)" = $((50 * frame)) ] || fail "50 frames are $(stat -c %s python) bytes"
  examples=/usr/share/doc/python3-shm2/examples
  timeout 20 /usr/bin/python3 $examples/grab.py /dev/shm/camera grabbed.png || fail "grab.py of the examples"
  [ "$(head -c 8 grabbed.png | od -An -c | tr -d ' ')" = '211PNG\r\n032\n' ] || fail "grab.py made no PNG"
  /usr/bin/python3 $examples/follow.py --all /dev/shm/camera /dev/shm/marked >/dev/null &
  follower=$!
  timeout 20 gst-launch-1.0 -q shm2src shm-path=/dev/shm/marked num-buffers=20 ! filesink location=marked
  kill $follower
  [ "$(stat -c %s marked)" = $((20 * frame)) ] || fail "20 frames of follow.py are $(stat -c %s marked) bytes"
  ok "Python $(/usr/bin/python3 -c 'import platform; print(platform.python_version())'): 50 frames from an element, and 50 to one"
}

relay() {
  systemd-analyze verify --man=no /usr/lib/systemd/system/shm2_rtspd.service 'shm2_zenoh@publish.service' \
    /usr/lib/systemd/system/shm2_relayd@.service 'shm2_relayd@camera.service' \
    'shm2_relayd@camera.socket' 2>&1 | grep -i shm2 && fail "systemd-analyze verify complains"
  [ "$(id -nG shm2-relay | tr ' ' '\n' | sort | tr '\n' ' ')" = "audio render shm2-relay video " ] || fail "$(id shm2-relay)"
  [ "$(stat -c '%A %U %G' /etc/shm2/tokens)" = "drwxr-x--- root shm2-relay" ] || fail "$(stat /etc/shm2/tokens)"
  [ "$(stat -c '%A %U %G' /run/shm2)" = "drwxr-xr-x root root" ] || fail "$(stat /run/shm2)"
  # v4l2src is in a package that is only recommended.
  sed s/v4l2src/videotestsrc/ /etc/shm2/camera.toml >camera.toml
  shm2_rtspd --check --config /etc/shm2/rtsp.toml >/dev/null || fail "the configuration of the RTSP server is not good"
  shm2_relayd --check --config camera.toml >/dev/null || fail "the packed configuration is not good"
  shm2_relayd --listen unix:///tmp/demand --output "appsrc name=appsrc ! shm2sink shm-path=/dev/shm/relayed" \
    --input "videotestsrc is-live=true ! $caps" 2>/tmp/relay.log &
  until_true "the relay's socket" test -S /tmp/demand
  /usr/bin/python3 -c 'import socket, time; s = socket.socket(socket.AF_UNIX); s.connect("/tmp/demand"); time.sleep(20)' &
  timeout 20 gst-launch-1.0 -q shm2src shm-path=/dev/shm/relayed num-buffers=20 ! filesink location=relayed
  [ "$(stat -c %s relayed)" = $((20 * frame)) ] || fail "20 frames are $(stat -c %s relayed) bytes"
  ok "the relay's units, user, folders and configuration; 20 frames through it on demand"
}

# PipeWire is installed with it, and does not run.
camera() {
  shm2 camera --help | grep -q 'REGION' || fail "shm2 camera --help"
  gzip -cd /usr/share/man/man1/shm2-camera.1.gz | grep -q '^\.SH NAME' || fail "no manual page of shm2-camera"
  ! XDG_RUNTIME_DIR=/run/user/0 shm2 camera /dev/shm/camera 2>camera.log || fail "a camera without PipeWire"
  grep -q 'cannot connect to PipeWire in /run/user/0: .*systemctl --user start' camera.log || fail "$(cat camera.log)"
  [ "$(wc -l <camera.log)" = 1 ] || fail "not one line: $(cat camera.log)"
  SYSTEMD_UNIT_PATH=/usr/lib/systemd/user: systemd-analyze verify --man=no 'shm2-camera@camera.service' 2>&1 |
    grep shm2-camera && fail "systemd-analyze verify complains"
  ok "shm2 camera: help, manual page, unit, and one sentence without PipeWire"
}

elements
tools
camera
library
python
relay
