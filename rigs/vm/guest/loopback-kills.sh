#!/bin/bash
# Kills the reader of a device of v4l2loopback, the relay of the camera and the relay of the device, and starts each
# again, as a service manager does; pictures must arrive again, and without a reader the camera must close.
#
# usage: loopback-kills.sh ROUNDS
# input: none; the current folder has the programs
# shellcheck source=rigs/vm/guest/loopback-prelude.sh
. loopback-prelude.sh
start_reader() {
  ffmpeg -hide_banner -loglevel error -y -f v4l2 -i $device -f framemd5 -flush_packets 1 /tmp/frames \
    2> /tmp/reader.log &
  reader=$!
}
# Waits for five more pictures at the reader.
wait_for_pictures() {
  local before
  before=$(wc -l 2> /dev/null < /tmp/frames || echo 0)
  local end=$((SECONDS + 30))
  while [ $SECONDS -lt $end ]; do
    [ "$(wc -l 2> /dev/null < /tmp/frames || echo 0)" -ge $((before + 5)) ] && return
    sleep 0.1
  done
  echo "no pictures: $(tail -n 1 /tmp/reader.log)"
  return 1
}

v4l2-ctl -d /dev/video0 --set-ctrl osd_text_mode=0
start_camera
start_device
wait_for off
wait_for_device
start_reader
wait_for on
wait_for_pictures
of_reader=0 of_camera=0 of_device=0
for _ in $(seq "$1"); do
  kill -9 $reader
  wait_for off
  [ "$(open_count video0)" = 0 ] || echo "the camera is open without a reader"
  start_reader
  wait_for on
  wait_for_pictures && of_reader=$((of_reader + 1))
  kill -9 "$camera"
  start_camera
  wait_for on
  wait_for_pictures && of_camera=$((of_camera + 1))
  # A reader that keeps the device open gets no picture of the next writer from v4l2loopback: it starts again, too.
  kill -9 "$relay" $reader
  start_device
  wait_for off
  wait_for_device
  start_reader
  wait_for on
  wait_for_pictures && of_device=$((of_device + 1))
done 2> /dev/null
echo "KILLS: $of_reader of the reader, $of_camera of the camera's relay, $of_device of the device's relay"
kill $reader
wait_for off
kill "$relay" "$camera"
wait "$relay" "$camera"
tail -n 3 /tmp/device.log
left=$(ls $region /tmp/camera /tmp/device 2> /dev/null)
echo "left: ${left:-nothing}"
