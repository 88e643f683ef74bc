#!/usr/bin/env bash
# Kills of every side: producers, the server and clients, and cameras that the relay reads by RTSP, ten times each; a
# server that is stopped, a wrong password, a wrong codec.
#
# usage: kills.sh [TIMES [quick]]   quick: kills alone, at most three, because the relay's back-off grows
# shellcheck source=rigs/rtsp/prelude.sh
. "$(dirname "$0")/prelude.sh"
times=${1:-10}
form=${2:-long}

# The last number of an ffmpeg's progress file.
frames() { grep '^frame=' "$place/$1" 2>/dev/null | tail -n 1 | cut -d = -f 2 | tr -d ' ' || true; }
more_than() { [ "$(frames "$1")" -gt "$2" ] 2>/dev/null; }
newer_than() { [ "$(field "$1" newest)" -gt "$2" ] 2>/dev/null; }
says() { grep -q "$1" "$place/$2"; }
median() { printf '%s\n' "$@" | sort -n | awk '{ v[NR]=$1 } END { print v[int((NR+1)/2)] " ms, at most " v[NR] " ms" }'; }

play() {
  ffmpeg -v error -rtsp_transport tcp -i $url/cam -f null -progress "$place/$1" - >"$place/$1.log" 2>&1 &
  client=$!
  until_true "frames at ffmpeg" more_than "$1" 5
}

producer_killed() {
  local took=() before begun
  play watched
  for _ in $(seq "$times"); do
    stop $producer -9
    before=$(frames watched)
    begun=$(now)
    produce cam "$raw"
    until_true "frames after a kill of the producer" more_than watched $((before + 15))
    took+=($(($(now) - begun)))
  done
  kill -0 $client || fail "ffmpeg ended"
  ok "the producer killed $times times: one ffmpeg played on, 15 frames more after $(median "${took[@]}")"
  stop $client -INT
}

client_killed() {
  local took=() begun
  for number in $(seq "$times"); do
    play "client-$number"
    begun=$(now)
    stop $client -9
    until_true "the region is released" has_consumers "$name-cam" 0
    took+=($(($(now) - begun)))
  done
  ok "a client killed $times times: its region is released after $(median "${took[@]}")"
}

client_stopped() {
  play stopped
  kill -STOP $client
  play beside
  until_true "frames beside a stopped client" more_than beside $(($(frames beside) + 250))
  ok "a client that is stopped for 10 s delays no other one"
  kill -CONT $client 2>/dev/null || true
}

# The relay reads the server as it would a camera.
relay() {
  cat >"$place/in.toml" <<EOF
output = "appsrc name=appsrc is-live=true format=time ! shm2sink shm-path=$name-in"
input = "rtspsrc location=$url/cam user-id=nvr user-pw=${1} protocols=tcp latency=100 add-reference-timestamp-meta=true ! ${2}"
activate = "consumers"
cool_down = 500
frame_timeout = 3000
EOF
  shm2_relayd --config "$place/in.toml" --control "$place/relay-control" >"$place/relay.log" 2>&1 &
  relay=$!
  until_true "the relay" quiet shm2_relayd --status --control "$place/relay-control"
}

# A reader of the region, which is the demand.
read_region() {
  gst-launch-1.0 -v shm2src "shm-path=$name-in" ! identity silent=false ! fakesink >"$place/reader.log" 2>&1 &
  reader=$!
}

secured() { serve --mount "/cam=$name-cam" --users-file "$place/users"; }

camera_killed() {
  local took=() before begun
  relay secret "rtph264depay ! h264parse config-interval=-1"
  [ "$(shm2_rtspd --status --control "$place/control" | grep -c '"plays": true')" = 0 ] || fail "played without demand"
  read_region
  until_true "frames of the camera" is_there "$name-in"
  for _ in $(seq "$times"); do
    # After ten seconds without a failure the back-off begins anew; without this pause it would grow to 30 s here.
    [ "$form" = quick ] || sleep 11
    stop $server -9
    sleep 0.3
    secured
    before=$(field "$name-in" newest)
    begun=$(now)
    until_true "frames after a kill of the camera" newer_than "$name-in" $((before + 10))
    took+=($(($(now) - begun)))
  done
  ok "the camera killed $times times: 10 frames more after $(median "${took[@]}") (back-off of the relay: 0.5 s, 1 s, ...)"
}

camera_stopped() {
  local before begun
  kill -STOP $server
  until_true "the relay tells" says "no buffer for 3000 ms" relay.log
  before=$(field "$name-in" newest)
  kill -CONT $server
  begun=$(now)
  until_true "frames of the camera that goes on" newer_than "$name-in" $((before + 10))
  ok "a camera that is stopped: \"no buffer for 3000 ms\", and frames again $(($(now) - begun)) ms after it goes on"
  # RTCP tells the camera's time after some seconds.
  until_true "times of the camera" says GstReferenceTimestampMeta reader.log
  ok "frames carry the camera's time (reference timestamp of RTCP)"
  stop $reader -INT
  # A start is the first frame, and each one with DISCONT behind a gap of 0.3 s. DISCONT alone is also a packet that came
  # too late, and a gap alone the pictures between the answer to DESCRIBE and PLAY, which are not encoded.
  starts=$(sed -n 's/.*last-message = chain.*pts: \([0-9]*\):\([0-9]*\):\([0-9.]*\),.*flags: [0-9a-f]* \(.*\) , meta.*/\1 \2 \3 \4/p' \
    "$place/reader.log" | awk '{ t = $1*3600 + $2*60 + $3 }
      NR == 1 || /discont/ && t > last + 0.3 { n++; if (/delta-unit/) bad++ } { last = t } END { print n+0, bad+0 }')
  if [ "${starts% *}" -lt 2 ] || [ "${starts#* }" != 0 ]; then
    fail "starts, and those without a keyframe: $starts"
  fi
  ok "each of ${starts% *} starts is a keyframe"
  stop $relay
}

camera_wrong() {
  relay wrong "rtph264depay ! h264parse"
  read_region
  until_true "the relay tells" says "check user and password" relay.log
  ok "a wrong password: $(grep -m 1 -o 'the input: .*' "$place/relay.log")"
  stop $reader -INT
  stop $relay
  relay secret "rtph265depay ! h265parse"
  read_region
  until_true "the relay tells" says "no element of the pipeline takes H264" relay.log
  ok "a wrong codec: $(grep -m 1 -o 'the input: .*' "$place/relay.log")"
  stop $reader -INT
  stop $relay
}

produce cam "$raw"
serve --mount "/cam=$name-cam"
producer_killed
client_killed
[ "$form" = quick ] || client_stopped
stop $server
printf 'nvr:secret\n' >"$place/users"
chmod 600 "$place/users"
secured
camera_killed
if [ "$form" = quick ]; then
  leave_out "eight more kills of each side, a stopped client, a stopped camera, a wrong password, a wrong codec"
  stop $reader -INT
  stop $relay
else
  camera_stopped
  camera_wrong
fi
stop $server
left=$(find /dev/shm -name "$(basename "$name")*" | wc -l)
echo "kills: all done; files of regions: $left, removed with this script"
