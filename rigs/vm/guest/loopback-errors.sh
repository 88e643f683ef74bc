#!/bin/bash
# Prints what the relay says of devices and formats that it cannot use.
#
# input: none; the current folder has the programs
# shellcheck source=rigs/vm/guest/loopback-prelude.sh
. loopback-prelude.sh
# usage: try_relay DEVICE [SPLASH]
try_relay() {
  timeout --preserve-status 8 ./shm2_relayd --activate "video-device:$1" \
    --output "appsrc name=appsrc ! queue ! v4l2sink device=$1" --input "shm2src shm-path=$region" \
    --splash "${2:-videotestsrc is-live=true ! $caps}" 2>&1 | grep -E 'shm2_relayd:|WARN' | head -n 1
}

try_relay /dev/video77
try_relay /dev/null
chmod 600 $device
cp shm2_relayd /tmp/
setpriv --reuid 1000 --regid 1000 --clear-groups /tmp/shm2_relayd --activate video-device:$device \
  --output "appsrc name=appsrc ! v4l2sink device=$device" --input videotestsrc
chmod 660 $device
try_relay $device 'videotestsrc is-live=true ! video/x-raw,format=P010_10LE,width=320,height=180'
start_device
wait_for_device
try_relay $device
kill "$relay"
wait "$relay"

gst-launch-1.0 -q v4l2src device=/dev/video0 ! fakesink &
other=$!
sleep 3
start_camera
timeout 20 gst-launch-1.0 -q shm2src shm-path=$region num-buffers=1 ! fakesink &
for _ in $(seq 200); do
  grep -m 1 'is busy' /tmp/camera.log && break
  sleep 0.1
done
kill $other "$camera"
wait "$camera"
rm -f /tmp/shm2_relayd
