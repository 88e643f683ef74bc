#!/bin/bash
# Changes format and size of the region that a device of v4l2loopback shows, while the device is read: its pictures keep
# format and size, and have the new content.
#
# input: none; the current folder has the programs
# shellcheck source=rigs/vm/guest/loopback-prelude.sh
. loopback-prelude.sh
# usage: start_producer FORMAT WIDTH HEIGHT GREY
start_producer() {
  gst-launch-1.0 -q videotestsrc is-live=true pattern=solid-color foreground-color=0xff"$4$4$4" ! \
    "video/x-raw,format=$1,width=$2,height=$3,framerate=10/1" ! shm2sink shm-path=$region &
  producer=$!
}
# The first byte of the newest picture: its luma.
luma() {
  local size
  size=$(stat -c %s /tmp/pictures 2> /dev/null || echo 0)
  [ "$size" -ge 115200 ] && od -An -tu1 -N1 -j $(((size / 115200 - 1) * 115200)) /tmp/pictures | tr -d ' '
}
# Waits until the pictures have this luma, or one beside it.
wait_for_luma() {
  local now
  local end=$((SECONDS + 30))
  while [ $SECONDS -lt $end ]; do
    now=$(luma)
    [ $((${now:-0} - $1)) -ge -1 ] && [ $((${now:-0} - $1)) -le 1 ] && echo "luma $1" && return
    sleep 0.1
  done
  echo "not reached in time: luma $1, it is ${now:-unknown}"
  return 1
}

start_producer YUY2 320 180 ff
start_device
wait_for_device
ffmpeg -hide_banner -loglevel error -y -f v4l2 -i $device -pix_fmt yuyv422 -f rawvideo -flush_packets 1 /tmp/pictures &
reader=$!
followed=yes
wait_for_luma 235 || followed=no
for change in 'NV12 640 360 80 126' 'RGB 160 90 40 71' 'GRAY8 480 270 c0 181'; do
  kill -9 $producer
  read -r format width height grey expected <<< "$change"
  start_producer "$format" "$width" "$height" "$grey"
  wait_for_luma "$expected" || followed=no
done
[ $followed = yes ] && echo "FORMATS: followed"
kill $reader
wait $reader
kill $producer "$relay"
wait "$relay"
tail -n 2 /tmp/device.log
rm -f /tmp/pictures $region
