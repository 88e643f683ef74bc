#!/usr/bin/env bash
# The bridge between two network namespaces, beside SRT and RTP: ages, misses and processor time. As root. Where pictures
# are missing, the last line of each process says which one lost them, or that the sender itself was late.
# bench.sh FOLDER PROGRAM: the folder with the plugin and examples/across, and shm2_zenoh with examples/flow beside it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [ "${1:-}" != inside ]; then
  exec unshare --mount --net --pid --fork --kill-child --mount-proc "$here/bench.sh" inside "$@"
fi
built=$2 zenoh=$3 across=$2/examples/across flow=$(dirname "$3")/examples/flow
export GST_PLUGIN_PATH=$built GST_REGISTRY=/tmp/shm2-test-zenoh-registry-$$.bin
logs=/tmp/shm2-test-zenoh-$$
mkdir "$logs"
trap 'rm -rf "$GST_REGISTRY" "$logs"' EXIT
mount -t tmpfs -o mode=1777,size=2g tmpfs /dev/shm
ip link set lo up
unshare --net sleep 10000 & machine=$!
there=(nsenter --target "$machine" --net)
until "${there[@]}" ip link show lo > /dev/null 2>&1 && ! test "/proc/$machine/ns/net" -ef /proc/self/ns/net; do
  sleep 0.05
done
"${there[@]}" ip link set lo up

# Two cables: a fat one, and one of 20 Mbit/s that loses 2 % of the packets and delays each way by 20 ms.
ip link add fat0 type veth peer name fat1
ip link set fat1 netns "$machine"
ip address add 10.78.0.1/24 dev fat0
ip link set fat0 up
"${there[@]}" ip address add 10.78.0.2/24 dev fat1
"${there[@]}" ip link set fat1 up
python3 "$here/link.py" thin0 thin1 20 2 20 > /dev/null &
until ip link show thin1 > /dev/null 2>&1; do sleep 0.05; done
ip link set thin1 netns "$machine"
ip address add 10.79.0.1 peer 10.79.0.2 dev thin0
ip link set thin0 up
"${there[@]}" ip address add 10.79.0.2 peer 10.79.0.1 dev thin1
"${there[@]}" ip link set thin1 up

# Processor time of processes and of those that they started, in hundredths of a second.
ticks() {
  local sum=0 parent id text stat
  local all=("$@")
  for parent in "$@"; do
    mapfile -t -O "${#all[@]}" all < <(pgrep -P "$parent" || true)
  done
  for id in "${all[@]}"; do
    text=$(cat "/proc/$id/stat" 2> /dev/null) || continue
    read -ra stat <<< "${text##*) }"
    sum=$((sum + stat[11] + stat[12]))
  done
  echo "$sum"
}

started=()
# start NAME COMMAND...: in the background, with a log of its own.
start() { "${@:2}" > "$logs/$1" 2>&1 & started+=($!); }
# What a measurement has started; then its regions. Where its line has fewer pictures than expected, what each process
# said last.
stop_all() {
  local log
  kill "${started[@]}" 2> /dev/null || true
  wait "${started[@]}" 2> /dev/null || true
  started=()
  if ! [[ $line =~ ([0-9]+)\ of\ ([0-9]+)\ pictures ]] || ((BASH_REMATCH[1] < BASH_REMATCH[2])); then
    for log in "$logs"/*; do
      echo "    ${log##*/}: $(tail -1 "$log")"
    done
  fi
  rm -f /dev/shm/* "$logs"/*
}

# measure NAME SENDERS RECEIVERS COMMAND...: prints the command's line, and the processor time of both sides.
measure() {
  local name=$1 senders receivers sent taken begun
  read -ra senders <<< "$2"
  read -ra receivers <<< "$3"
  shift 3
  sleep 3
  sent=$(ticks "${senders[@]}") taken=$(ticks "${receivers[@]}") begun=$(date +%s%N)
  line=$("$@" 2>&1 | tail -1) || true
  local ms=$((($(date +%s%N) - begun) / 1000000))
  sent=$((($(ticks "${senders[@]}") - sent) * 1000 / ms)) taken=$((($(ticks "${receivers[@]}") - taken) * 1000 / ms))
  echo "$name: $line; processor: sender $sent %, receiver $taken %"
}

raw() {
  local name=$1 rate=$2 options=("${@:3}") sender receiver
  start send "$flow" send /dev/shm/raw 60 "$rate"
  start publish "$zenoh" publish raw --host north --listen tcp/10.78.0.1:7447 "${options[@]}" --no-multicast
  sender=${started[-1]}
  sleep 0.5
  start open "${there[@]}" "$zenoh" open north/raw --connect tcp/10.78.0.1:7447 "${options[@]}" --no-multicast
  receiver=${started[-1]}
  measure "$name" "$sender" "$receiver" "$flow" take /dev/shm/north.raw 10
  stop_all
}

h264="x264enc tune=zerolatency speed-preset=ultrafast bitrate=2000"
baseline="video/x-h264,profile=baseline"
encoded() {
  local name=$1 endpoint=$2 options=("${@:3}") sender receivers
  start camera "$across" source /dev/shm/camera
  start publish "$zenoh" publish camera --host north --listen "$endpoint" "${options[@]}" --no-multicast \
    --encode "$h264 key-int-max=30 ! $baseline ! h264parse"
  sender=${started[-1]}
  sleep 0.5
  start open "${there[@]}" "$zenoh" open north/camera --connect "$endpoint" "${options[@]}" --no-multicast
  receivers=${started[-1]}
  start decode "$across" run "shm2src shm-path=/dev/shm/north.camera ! h264parse ! avdec_h264 ! videoconvert ! \
    shm2sink sync=false shm-path=/dev/shm/out"
  measure "$name" "$sender" "$receivers ${started[-1]}" timeout 60 "$across" measure /dev/shm/out 15
  stop_all
}

pipelines() {
  local name=$1 send=$2 receive=$3 sender
  start camera "$across" source /dev/shm/camera
  start send "$across" run "shm2src shm-path=/dev/shm/camera ! videoconvert ! $send"
  sender=${started[-1]}
  start decode "${there[@]}" "$across" run "$receive ! h264parse ! avdec_h264 ! videoconvert ! \
    shm2sink sync=false shm-path=/dev/shm/out"
  measure "$name" "$sender" "${started[-1]}" timeout 60 "$across" measure /dev/shm/out 15
  stop_all
}

echo "raw I420, 1920x1080, a link without limit:"
raw "  zenoh, 60/s, newest first" 60
raw "  zenoh, 60/s, lossless" 60 --lossless
raw "  zenoh, 240/s, newest first" 240
echo "H.264 of 320x240 at 30/s, 20 Mbit/s, 2 % loss, 20 ms each way:"
encoded "  zenoh over TCP, newest first" tcp/10.79.0.1:7447
encoded "  zenoh over TCP, lossless" tcp/10.79.0.1:7447 --lossless
encoded "  zenoh over UDP" udp/10.79.0.1:7447
pipelines "  SRT, latency 120 ms" \
  "$h264 key-int-max=30 ! $baseline ! mpegtsmux ! srtsink uri=srt://:7001 latency=120 wait-for-connection=false" \
  "srtsrc uri=srt://10.79.0.1:7001 latency=120 ! tsdemux latency=1"
pipelines "  RTP over UDP, jitter buffer 60 ms" \
  "$h264 key-int-max=15 ! $baseline ! rtph264pay config-interval=1 ! udpsink host=10.79.0.2 port=7002" \
  "udpsrc port=7002 caps=application/x-rtp,media=video,clock-rate=90000,encoding-name=H264 ! \
   rtpjitterbuffer latency=60 drop-on-latency=true ! rtph264depay"
