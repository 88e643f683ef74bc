#!/usr/bin/env bash
# One decode for three readers, beside three RTSP clients that decode each: processor time of all programs behind the
# camera, of 1080p25 H.264 that x264enc makes. Both are measured in turn, and the medians are shown.
#
# usage: bench.sh [ROUNDS] [SECONDS]
# shellcheck source=rigs/rtsp/prelude.sh
. "$(dirname "$0")/prelude.sh"
rounds=${1:-5} seconds=${2:-10}
ticks=$(getconf CLK_TCK)
decode="rtph264depay ! h264parse ! avdec_h264 max-threads=1 ! videoconvert ! video/x-raw,format=I420"

# The camera: one file, played in a loop, so that making the picture costs nothing here.
timeout 120 gst-launch-1.0 -q videotestsrc pattern=zone-plate kx2=20 ky2=20 kt=1 num-buffers=250 ! \
  video/x-raw,format=I420,width=1920,height=1080,framerate=25/1 ! \
  x264enc tune=zerolatency speed-preset=veryfast bitrate=6000 key-int-max=25 ! h264parse config-interval=-1 ! \
  video/x-h264,stream-format=byte-stream,alignment=au ! \
  multifilesink "location=$place/%05d.h264" >"$place/encode.log" 2>&1 || fail "the camera's pictures"
gst-launch-1.0 -q multifilesrc "location=$place/%05d.h264" loop=true \
  caps="video/x-h264,stream-format=byte-stream,alignment=au,framerate=25/1,width=1920,height=1080" ! \
  h264parse ! clocksync ! \
  shm2sink "shm-path=$name-camera" >"$place/camera.log" 2>&1 &
until_true "the camera" is_there "$name-camera"
serve --mount "/cam=$name-camera"

# Processor time of these processes, in milliseconds.
used() {
  local sum=0 pid fields
  for pid in "$@"; do
    fields=$(sed 's/.*) //' "/proc/$pid/stat") || fail "process $pid ended"
    # shellcheck disable=SC2086
    set -- $fields
    sum=$((sum + ${12} + ${13}))
  done
  echo $((sum * 1000 / ticks))
}

# measure NAME PIDS...: the share of one processor, in per mille.
measure() {
  local what=$1 begun before
  shift
  sleep 3
  before=$(used "$@")
  begun=$(now)
  sleep "$seconds"
  echo $((($(used "$@") - before) * 1000 / ($(now) - begun))) >>"$place/$what"
}

# Words of a pipeline.
# shellcheck disable=SC2086
clients() {
  local pids=()
  for number in 1 2 3; do
    gst-launch-1.0 -q rtspsrc location=$url/cam protocols=tcp latency=100 ! $decode ! fakesink sync=true \
      >"$place/client-$number.log" 2>&1 &
    pids+=($!)
  done
  measure clients "${pids[@]}"
  for pid in "${pids[@]}"; do stop "$pid" -INT; done
}

# shellcheck disable=SC2086
region() {
  local pids=()
  shm2_relayd --activate consumers --cool-down 0 \
    --output "appsrc name=appsrc is-live=true format=time ! shm2sink shm-path=$name-decoded" \
    --input "rtspsrc location=$url/cam protocols=tcp latency=100 ! $decode" >"$place/relay.log" 2>&1 &
  pids+=($!)
  for number in 1 2 3; do
    gst-launch-1.0 -q shm2src "shm-path=$name-decoded" ! fakesink sync=true enable-last-sample=false \
      >"$place/reader-$number.log" 2>&1 &
    pids+=($!)
  done
  until_true "decoded frames" is_there "$name-decoded"
  local before
  before=$(field "$name-decoded" newest)
  measure region "${pids[@]}"
  # Three seconds before the measurement count, too.
  echo $((($(field "$name-decoded" newest) - before) / (seconds + 3))) >>"$place/rate"
  for pid in "${pids[@]}"; do stop "$pid" -INT; done
}

for _ in $(seq "$rounds"); do
  clients
  region
done
middle() { sort -n "$place/$1" | awk '{ v[NR]=$1/10 } END { print v[int((NR+1)/2)] " % (" v[1] " to " v[NR] ")" }'; }
echo "1080p25 H.264 by RTSP over TCP, shares of one processor, medians of $rounds runs of $seconds s:"
echo "three clients, each decodes: $(middle clients)"
echo "one decode into a region, three readers: $(middle region), at $(sort -n "$place/rate" | head -n 1) or more frames a second"
