# shellcheck shell=bash disable=SC2034
# Functions of the scripts with a device of v4l2loopback; sourced.
#
# Two relays run: "camera" fills a region from a camera (vivid) while it has consumers, "device" fills /dev/video10 from
# that region while the device is read.
device=/dev/video10
region=/dev/shm/shm2-test-camera
# All that a reader of V4L2 sees is fixed.
caps=video/x-raw,format=YUY2,width=320,height=180,colorimetry=bt601,framerate=15/1

start_camera() {
  ./shm2_relayd --activate consumers --control /tmp/camera --cool-down 500 \
    --output "appsrc name=appsrc ! shm2sink shm-path=$region history=0" \
    --input "v4l2src device=/dev/video0 io-mode=userptr ! $caps" >> /tmp/camera.log 2>&1 &
  camera=$!
}
start_device() {
  ./shm2_relayd --activate video-device:$device --control /tmp/device --cool-down 500 \
    --output "appsrc name=appsrc ! queue ! v4l2sink device=$device sync=false" \
    --input "shm2src shm-path=$region ! videoconvert ! videoscale ! videorate skip-to-first=true ! $caps" \
    --splash "videotestsrc is-live=true pattern=black ! $caps" >> /tmp/device.log 2>&1 &
  relay=$!
}

input_state() {
  ./shm2_relayd --status --control "/tmp/$1" 2> /dev/null | grep '"input":' | cut -d'"' -f4
}
# Waits until the inputs of both relays are in a state.
wait_for() {
  local end=$((SECONDS + 30))
  while [ $SECONDS -lt $end ]; do
    [ "$(input_state camera)" = "$1" ] && [ "$(input_state device)" = "$1" ] && return
    sleep 0.1
  done
  echo "not reached in time: $1, camera $(input_state camera), device $(input_state device)"
}
# Waits until the device presents itself as a camera, with the splash.
wait_for_device() {
  local end=$((SECONDS + 30))
  while [ $SECONDS -lt $end ]; do
    v4l2-ctl -d $device --get-fmt-video 2> /dev/null | grep -q YUYV && return
    sleep 0.1
  done
  echo "$device does not become a camera"
}
open_count() {
  find /proc/[0-9]*/fd -maxdepth 1 -lname "*/$1" 2> /dev/null | cut -d/ -f3 | sort -u | wc -l
}
