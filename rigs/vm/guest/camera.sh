#!/bin/bash
# Runs the relay with a camera (vivid) in the guest and prints how many processes have the camera open: without clients,
# with a TCP client, with a vsock client, and while the camera is unplugged.
#
# input: none; the current folder has the programs
# vivid takes events, but has none for its readers.
./shm2_relayd --activate video-device:/dev/video0 --output "appsrc name=appsrc ! fakesink" --input videotestsrc 2>&1
echo "camera: $(cat /sys/class/video4linux/video0/name)"
./shm2_relayd --listen tcp://127.0.0.1:5555 --listen vsock://local:5556 --cool-down 0 --frame-timeout 60000 \
  --control /tmp/ctl \
  --output "appsrc name=appsrc ! shm2sink shm-path=/dev/shm/camera" \
  --input "v4l2src device=/dev/video0 ! video/x-raw,width=320,height=180 ! identity" &
relay=$!

input_state() {
  ./shm2_relayd --status --control /tmp/ctl 2> /dev/null | grep '"input":' | cut -d'"' -f4
}
wait_for() {
  for _ in $(seq 400); do
    [ "$(input_state)" = "$1" ] && return
    sleep 0.1
  done
  echo "not reached in time: $1"
}
open_count() {
  find /proc/[0-9]*/fd -maxdepth 1 -lname '*video0' 2> /dev/null | cut -d/ -f3 | sort -u | wc -l
}

wait_for off
echo "OPEN without clients: $(open_count)"
exec 3<> /dev/tcp/127.0.0.1/5555
wait_for on
echo "OPEN tcp: $(open_count)"
exec 3>&-
wait_for off
echo "OPEN after tcp: $(open_count)"
./examples/across vsock 1 5556 100 &
client=$!
wait_for on
echo "OPEN vsock: $(open_count)"

driver=/sys/bus/platform/drivers/vivid
echo vivid.0 > $driver/unbind
wait_for waiting
echo "UNPLUGGED: $(open_count), $(ls /dev/video0 2>&1)"
echo vivid.0 > $driver/bind
wait_for on
echo "PLUGGED AGAIN: $(open_count)"
kill $client
wait_for off
echo "OPEN after vsock: $(open_count)"

./shm2_relayd --status --control /tmp/ctl | grep -E 'buffers|failure|caps'
kill $relay
wait $relay
echo "relay ended with $?"
