# Functions and names of the scripts here: programs, a folder and regions of this run that are removed at the end.
# Is sourced by bash.
# What is set here is used by the scripts that source it.
# shellcheck shell=bash disable=SC2034
set -eu -o pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
built=${SHM2_BUILT:-$here/target/debug}
export PATH=$built:$PATH GST_PLUGIN_PATH=$built
# Nothing but loopback, where multicast is possible, too. The ports are those of this run alone.
if [ -z "${SHM2_RTSP_APART:-}" ]; then
  apart=(unshare --net)
  [ "$(id -u)" = 0 ] || apart+=(--map-root-user)
  SHM2_RTSP_APART=1 exec "${apart[@]}" bash "$0" "$@"
fi
ip link set lo up
ip route add 224.0.0.0/4 dev lo 2>/dev/null || true

name=/dev/shm/shm2-test-rtsp-$$
place=$(mktemp -d)
port=8554
url=rtsp://127.0.0.1:$port
chmod 700 "$place"

# All that was started and runs still.
clean() {
  local running
  running=$(jobs -p)
  # Numbers of processes.
  # shellcheck disable=SC2086
  [ -z "$running" ] || kill -CONT $running 2>/dev/null || true
  # shellcheck disable=SC2086
  [ -z "$running" ] || kill -9 $running 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$place" "$name"-*
}
trap clean EXIT

fail() {
  echo "FAILED: $*" >&2
  for log in "$place"/*.log; do
    echo "--- $log" >&2
    tail -n 15 "$log" >&2 || true
  done
  exit 1
}

ok() { echo "ok: $*"; }
skip() { echo "skipped: $*"; }
leave_out() { skip "$* (cargo xtask rtsp)"; }
now() { date +%s%3N; }
has() { command -v "$1" >/dev/null; }

# until_true WHAT COMMAND...: waits up to 20 s.
until_true() {
  local what=$1 end
  shift
  end=$(($(now) + ${LIMIT_MS:-20000}))
  until "$@"; do
    [ "$(now)" -lt "$end" ] || fail "not in time: $what"
    sleep 0.05
  done
}

quiet() { "$@" >/dev/null 2>&1; }
# field REGION NAME: a number that shm2 inspect shows.
field() { shm2 inspect "$1" --json 2>/dev/null | grep -o "\"$2\":[0-9]*" | head -n 1 | cut -d : -f 2; }
consumers() { shm2 inspect "$1" --json 2>/dev/null | grep -o '"pid"' | wc -l || true; }
has_consumers() { [ "$(consumers "$1")" = "$2" ]; }
is_there() { [ "$(field "$1" newest)" -gt 0 ] 2>/dev/null; }

# produce NAME PIPELINE: a producer of a region; its number is $producer.
produce() {
  # Words of a pipeline.
  # shellcheck disable=SC2086
  gst-launch-1.0 -q $2 ! shm2sink "shm-path=$name-$1" >>"$place/producer-$1.log" 2>&1 &
  producer=$!
  until_true "a frame in $1" is_there "$name-$1"
}

raw="videotestsrc is-live=true pattern=smpte ! video/x-raw,format=I420,width=640,height=360,framerate=25/1"
encoded="$raw ! x264enc tune=zerolatency key-int-max=25 speed-preset=ultrafast"

# serve OPTIONS...: the server; its number is $server.
serve() {
  local listen=(--listen "127.0.0.1:$port")
  [ "$1" != --listen ] || listen=()
  shm2_rtspd "${listen[@]}" --control "$place/control" "$@" >>"$place/server.log" 2>&1 &
  server=$!
  until_true "the server" quiet shm2_rtspd --status --control "$place/control"
}

stop() {
  kill "${2:--TERM}" "$1"
  wait "$1" 2>/dev/null || true
}
