#!/bin/bash
# A device of v4l2loopback whose reader switches a camera (vivid) on, through a region. Prints how many processes have
# the camera open without a reader, with one, after a second one was refused by the driver, and after the reader, and
# whether ffmpeg and v4l2src read the bytes of the camera's picture. ffmpeg's picture is left in
# /tmp/exchange/video10.png.
#
# input: none; the current folder has the programs
# shellcheck source=rigs/vm/guest/loopback-prelude.sh
. loopback-prelude.sh
# Pictures without a moving text.
v4l2-ctl -d /dev/video0 --set-ctrl osd_text_mode=2,horizontal_movement=3
gst-launch-1.0 -q v4l2src device=/dev/video0 num-buffers=1 ! $caps ! filesink location=/tmp/reference
bytes=$(stat -c %s /tmp/reference)
start_camera
start_device
wait_for off
wait_for_device
echo "OPEN without readers: $(open_count video0)"

# Each leaves its last picture in a file.
ffmpeg_reader() {
  ffmpeg -hide_banner -loglevel error -y -f v4l2 -i $device -frames:v "$1" -pix_fmt yuyv422 -f rawvideo /tmp/ffmpeg
}
gst_reader() {
  gst-launch-1.0 -q v4l2src device=$device num-buffers="$1" ! $caps ! filesink location=/tmp/gst
}
compare() {
  tail -c "$bytes" "/tmp/$1" | cmp -s - /tmp/reference && echo "PICTURE by $1: same" && return
  echo "PICTURE by $1: other, $(stat -c %s "/tmp/$1") bytes"
}

gst-launch-1.0 -q v4l2src device=$device ! fakesink &
reader=$!
wait_for on
echo "OPEN one reader: $(open_count video0)"
ffmpeg_reader 15 2>&1 | head -n 1
wait_for on
echo "OPEN one of two readers: $(open_count video0)"
kill $reader
wait_for off
echo "OPEN after the reader: $(open_count video0)"
ffmpeg_reader 30
compare ffmpeg
tail -c "$bytes" /tmp/ffmpeg | ffmpeg -hide_banner -loglevel error -y -f rawvideo -pix_fmt yuyv422 -s 320x180 -i - \
  -frames:v 1 /tmp/exchange/video10.png
gst_reader 30
compare gst
wait_for off
grep -E 'is read|input on' /tmp/device.log
kill $relay $camera
wait $relay && wait $camera && echo "relays ended with 0"
ls $region 2> /dev/null
rm -f /tmp/ffmpeg /tmp/gst
