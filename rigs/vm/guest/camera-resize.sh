#!/bin/bash
# Changes the size of a camera (vivid) that writes into a region, while a consumer is attached; prints whether the
# consumer's last picture is the camera's.
#
# input: none; the current folder has the programs
region=/dev/shm/shm2-test-camera
large=video/x-raw,format=YUY2,width=640,height=360
v4l2-ctl -d /dev/video0 --set-ctrl osd_text_mode=2,horizontal_movement=3
gst-launch-1.0 -q v4l2src device=/dev/video0 num-buffers=1 ! $large ! filesink location=/tmp/large
settings() {
  cat > /tmp/camera.toml << END
activate = ["consumers"]
output = "appsrc name=appsrc ! shm2sink shm-path=$region"
input = "v4l2src device=/dev/video0 io-mode=userptr ! video/x-raw,format=YUY2,width=$1,height=$2,framerate=15/1"
END
}
settings 320 180
./shm2_relayd --config /tmp/camera.toml > /tmp/camera.log 2>&1 &
relay=$!
gst-launch-1.0 -q shm2src shm-path=$region ! filesink location=/tmp/pictures buffer-mode=unbuffered &
consumer=$!
# Waits until the consumer has so many bytes more.
wait_for_bytes() {
  local goal
  goal=$(($(stat -c %s /tmp/pictures 2> /dev/null || echo 0) + $1))
  local end=$((SECONDS + 30))
  while [ $SECONDS -lt $end ]; do
    [ "$(stat -c %s /tmp/pictures 2> /dev/null || echo 0)" -ge $goal ] && return
    sleep 0.1
  done
  echo "no pictures"
}
wait_for_bytes 500000
settings 640 360
kill -HUP $relay
wait_for_bytes 5000000
kill $consumer
wait $consumer
tail -c "$(stat -c %s /tmp/large)" /tmp/pictures | cmp - /tmp/large && echo "RESIZED: 640x360, same picture"
kill $relay
wait $relay
tail -n 4 /tmp/camera.log
rm -f /tmp/pictures
