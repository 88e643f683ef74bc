#!/bin/bash
# Kills a producer while a camera (vivid) writes into its region, and prints how often the camera wrote into the region
# after the producer's lock was gone, when a next producer may have the memory; and how often the writes of the live
# producer were not seen, so that the round says nothing.
#
# usage: camera-kill.sh ROUNDS MODE
#   MODE    of v4l2src's property io-mode
# input: none; the current folder has the programs
region=/dev/shm/shm2-test-camera
caps=video/x-raw,format=YUY2,width=320,height=180,framerate=30/1
v4l2-ctl -d /dev/video0 --set-ctrl horizontal_movement=6

# Waits until a command succeeds, for 20 s at most.
wait_for() {
  for _ in $(seq 200); do
    "$@" > /dev/null 2>&1 && return
    sleep 0.1
  done
  echo "not reached in time: $*"
}

late=0 blind=0
for _ in $(seq "$1"); do
  gst-launch-1.0 -q v4l2src device=/dev/video0 io-mode="$2" ! $caps ! shm2sink shm-path=$region shm-size=5900000 &
  camera=$!
  wait_for ./shm2 hz -n 1 $region
  perl /tmp/scripts/after-lock.pl $region now | grep -v ' 0 of' | grep -q after || blind=$((blind + 1))
  perl /tmp/scripts/after-lock.pl $region > /tmp/after &
  watch=$!
  wait_for grep ready /tmp/after
  kill -9 $camera
  wait $watch
  grep -q ' 0 of' /tmp/after || late=$((late + 1))
  tail -n 1 /tmp/after
done
echo "LATE WRITES in mode $2: $late of $1, $blind blind"
rm -f $region
