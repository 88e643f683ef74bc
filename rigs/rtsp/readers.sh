#!/usr/bin/env bash
# The RTSP server, read by ffmpeg, mpv and rtspsrc: pictures, protocols, users, TLS, sound in sync, copies of encoded
# streams.
#
# usage: readers.sh [FOLDER [quick]]   where pictures are kept; quick: a part of it
# shellcheck source=rigs/rtsp/prelude.sh
. "$(dirname "$0")/prelude.sh"
kept=${1:-$place}
form=${2:-long}

probe() { timeout 20 ffprobe -v error "$@" -show_entries stream=codec_name -of csv=p=0 2>&1 | sort | tr "\n" " " || true; }

protocols() {
  for protocol in tcp udp; do
    found=$(probe -rtsp_transport $protocol $url/cam)
    [ "$found" = "h264 opus " ] || fail "ffprobe by $protocol: $found"
    ok "ffprobe by $protocol: $found"
  done
  if [ "$form" = quick ]; then
    by=(tcp)
    leave_out "rtspsrc by udp"
  else
    by=(tcp udp)
  fi
  for protocol in "${by[@]}"; do
    timeout 20 gst-launch-1.0 -q rtspsrc location=$url/cam protocols="$protocol" ! rtph264depay ! \
      identity eos-after=50 ! fakesink sync=false >"$place/rtspsrc.log" 2>&1 || fail "rtspsrc by $protocol"
    ok "rtspsrc by $protocol: 50 pictures"
  done
  [[ $(probe $url/nothing) == *"404 Not Found"* ]] || fail "no 404"
  ok "ffprobe of a mount that is not there: 404"
}

# Client and server have a network of their own each, because on one machine they would both bind the port.
multicast() {
  unshare --net sleep 60 &
  local other=$!
  until_true "another network" ip link add shm2-here type veth peer name shm2-there netns $other
  ip addr add 10.77.0.1/24 dev shm2-here
  ip link set shm2-here up
  nsenter -t $other -n sh -c 'ip link set lo up; ip addr add 10.77.0.2/24 dev shm2-there; ip link set shm2-there up
    ip route add 224.0.0.0/4 dev shm2-there'
  ip route replace 224.0.0.0/4 dev shm2-here
  serve --listen 10.77.0.1:$port --mount "/cam=$name-raw" --protocols multicast
  for number in 1 2; do
    timeout 20 nsenter -t $other -n gst-launch-1.0 -q rtspsrc location=rtsp://10.77.0.1:$port/cam protocols=udp-mcast ! \
      rtph264depay ! identity eos-after=50 ! fakesink sync=false >"$place/multicast-$number.log" 2>&1 ||
      fail "multicast"
  done
  ok "rtspsrc by multicast from another network: 50 pictures, twice"
  stop $server
  stop $other
}

pictures() {
  timeout 30 ffmpeg -v error -rtsp_transport tcp -i $url/cam -frames:v 1 -y "$kept/rtsp-ffmpeg.png" || fail "ffmpeg"
  ok "ffmpeg: a picture of $(stat -c %s "$kept/rtsp-ffmpeg.png") bytes"
  if ! has mpv; then
    skip "mpv is not there"
    return
  fi
  timeout 30 mpv --no-config --really-quiet --vo=image --vo-image-format=png "--vo-image-outdir=$place/mpv" --ao=null \
    --frames=10 $url/cam >"$place/mpv.log" 2>&1 || fail "mpv"
  picture=$(find "$place/mpv" -name '*.png' | sort | tail -n 1)
  [ -s "$picture" ] || fail "mpv made no picture"
  cp "$picture" "$kept/rtsp-mpv.png"
  ok "mpv: $(find "$place/mpv" -name '*.png' | wc -l) pictures"
}

sound_in_sync() {
  # A picture turns black or white each second, and a tick begins with it.
  gst-launch-1.0 -q videotestsrc is-live=true pattern=blink ! \
    video/x-raw,format=I420,width=320,height=240,framerate=1/1 ! \
    shm2sink "shm-path=$name-flash" audiotestsrc is-live=true wave=ticks tick-interval=1000000000 volume=0.8 ! \
    audio/x-raw,format=S16LE,rate=48000,channels=2 ! shm2sink "shm-path=$name-tick" >"$place/sync-producer.log" 2>&1 &
  local both=$!
  until_true "flashes" is_there "$name-flash"
  timeout 30 ffmpeg -v error -rtsp_transport tcp -i $url/sync -t 12 -c copy -y "$place/sync.mkv" || fail "no recording"
  flashes=$(ffmpeg -hide_banner -i "$place/sync.mkv" -an -vf blackdetect=d=0.1 -f null - 2>&1 |
    grep -o 'black_[a-z]*:[0-9.]*' | grep -v duration | cut -d : -f 2)
  ticks=$(ffmpeg -hide_banner -i "$place/sync.mkv" -vn -af silencedetect=n=-40dB:d=0.3 -f null - 2>&1 |
    grep -o 'silence_end: [0-9.]*' | cut -d ' ' -f 2)
  stop $both
  # For each tick the nearest change of the picture; the median of the differences.
  difference=$(printf '%s\n' "$ticks" | while read -r tick; do
    printf '%s\n' "$flashes" | awk -v t="$tick" 'NR==1 || (($1-t)^2 < (best-t)^2) { best=$1 } END { print (t-best)*1000 }'
  done | sort -n | awk '{ v[NR]=$1 } END { print NR ? v[int((NR+1)/2)] : "none" }')
  awk -v d="$difference" 'BEGIN { exit !(d != "none" && d*d <= 1600) }' || fail "sound is $difference ms off"
  ok "sound and picture: $difference ms apart (one frame is 40 ms), of $(printf '%s\n' "$ticks" | wc -l) ticks"
}

# The access units of an encoded region and those that a client gets are the same bytes.
passed_through() {
  local end="h264parse ! video/x-h264,stream-format=byte-stream,alignment=au ! multifilesink sync=false"
  mkdir -p "$place/region" "$place/client"
  # Words of a pipeline.
  # shellcheck disable=SC2086
  timeout -s INT 6 gst-launch-1.0 -q rtspsrc location=$url/encoded protocols=tcp ! rtph264depay ! $end \
    "location=$place/client/%05d" >"$place/client.log" 2>&1 &
  local client=$!
  # shellcheck disable=SC2086
  timeout -s INT 6 gst-launch-1.0 -q shm2src "shm-path=$name-encoded" ! $end "location=$place/region/%05d" \
    >"$place/region.log" 2>&1 || true
  wait $client || true
  sums() { find "$1" -type f -exec md5sum {} + | cut -d ' ' -f 1 | sort -u; }
  local all same
  all=$(sums "$place/client" | wc -l)
  same=$(comm -12 <(sums "$place/client") <(sums "$place/region") | wc -l)
  if [ "$all" -lt 50 ] || [ $((same * 10)) -lt $((all * 8)) ]; then
    fail "$same of $all access units are those of the region"
  fi
  ok "an encoded region is passed through: $same of $all access units are the region's bytes"
}

users() {
  for method in digest basic; do
    serve --mount "/cam=$name-raw" --users-file "$place/users" --auth $method
    [ "$(probe -rtsp_transport tcp rtsp://nvr:secret@127.0.0.1:$port/cam)" = "h264 " ] || fail "$method"
    [[ $(probe -rtsp_transport tcp rtsp://nvr:wrong@127.0.0.1:$port/cam) == *"401 Unauthorized"* ]] || fail "$method: no 401"
    ok "a user by $method; 401 with a wrong password"
    stop $server
  done
}

tls() {
  if ! has openssl; then
    skip "TLS: there is no openssl to make a certificate"
    return
  fi
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout "$place/key" -out "$place/cert" 2>/dev/null
  cat "$place/cert" "$place/key" >"$place/both.pem"
  chmod 600 "$place/both.pem"
  if ! shm2_rtspd --check --mount /a=/dev/shm/x --tls-certificate "$place/both.pem" >"$place/tls.log" 2>&1; then
    grep -q glib-networking "$place/tls.log" || fail "TLS"
    skip "TLS: glib-networking is not installed"
    return
  fi
  serve --mount "/cam=$name-raw" --tls-certificate "$place/both.pem" --users-file "$place/users"
  [ "$(probe -rtsp_transport tcp rtsps://nvr:secret@127.0.0.1:$port/cam)" = "h264 " ] || fail "rtsps"
  [[ $(probe -rtsp_transport tcp rtsps://nvr:wrong@127.0.0.1:$port/cam) == *"401 Unauthorized"* ]] || fail "rtsps: no 401"
  quiet timeout 5 ffprobe -v error rtsp://nvr:secret@127.0.0.1:$port/cam && fail "without TLS, too"
  ok "ffprobe by rtsps with a password; 401 with a wrong one"
  stop $server
}

# codec NAME CALLED ELEMENT PIPELINE: an encoded region of this kind, found as CALLED and decoded by ffmpeg.
codec() {
  local encoding found
  if ! quiet gst-inspect-1.0 --exists "$3"; then
    skip "$1: there is no $3"
    return
  fi
  produce "$1" "$4"
  encoding=$producer
  serve --mount "/$1=$name-$1"
  found=$(probe -rtsp_transport tcp "$url/$1")
  [ "$found" = "$2 " ] || fail "$1: ffprobe found $found"
  timeout 30 ffmpeg -v error -rtsp_transport tcp -i "$url/$1" -t 1 -f null - >"$place/$1.log" 2>&1 || fail "$1"
  ok "an encoded region of $1: ffprobe found $2, ffmpeg decoded a second, with $(wc -l <"$place/$1.log") complaints"
  stop $server
  stop $encoding
}

codecs() {
  local small="videotestsrc is-live=true ! video/x-raw,format=I420,width=320,height=240,framerate=15/1"
  local sound="audiotestsrc is-live=true ! audioconvert ! audioresample ! audio/x-raw"
  # x265enc writes the headers once, at its start; a reader that comes later needs them before each keyframe.
  codec h265 hevc x265enc \
    "$small ! x265enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! h265parse config-interval=-1"
  codec vp8 vp8 vp8enc "$small ! vp8enc deadline=1 keyframe-max-dist=15"
  codec vp9 vp9 vp9enc "$small ! vp9enc deadline=1 cpu-used=8 keyframe-max-dist=15"
  codec jpeg mjpeg jpegenc "$small ! jpegenc"
  codec aac aac avenc_aac "$sound,rate=48000,channels=2 ! avenc_aac ! aacparse"
  codec opus opus opusenc "$sound,rate=48000,channels=2 ! opusenc"
  codec mulaw pcm_mulaw mulawenc "$sound,rate=8000,channels=1 ! mulawenc"
  codec alaw pcm_alaw alawenc "$sound,rate=8000,channels=1 ! alawenc"
}

# What a page says to NVRs: the pipe of a program that they execute.
pipes() {
  found=$(timeout 20 gst-launch-1.0 -q shm2src "shm-path=$name-encoded" num-buffers=100 ! h264parse ! mpegtsmux ! \
    fdsink | timeout 20 ffprobe -v error -i - -show_entries stream=codec_name -of csv=p=0 2>&1 | grep . | sort -u)
  [ "$found" = h264 ] || fail "the pipe of gst-launch-1.0: $found"
  ok "a pipe of gst-launch-1.0 (MPEG-TS): $found"
}

printf 'nvr:secret\n' >"$place/users"
chmod 600 "$place/users"
produce raw "$raw"
video=$producer
produce sound "audiotestsrc is-live=true ! audio/x-raw,format=S16LE,rate=48000,channels=2"
produce encoded "$encoded"
serve --mount "/cam=$name-raw,$name-sound" --mount "/encoded=$name-encoded" --mount "/sync=$name-flash,$name-tick" \
  --protocols tcp --protocols udp --protocols multicast
has_consumers "$name-raw" 0 || fail "a consumer before anybody plays"
protocols
pictures
until_true "the region is released" has_consumers "$name-raw" 0
ok "no consumer of the region while nobody plays"
if [ "$form" = quick ]; then
  leave_out "sound in sync, the bytes of an encoded region, a pipe, other codecs, users without TLS, multicast"
  stop $server
  tls
else
  sound_in_sync
  passed_through
  pipes
  stop $server
  codecs
  users
  tls
  multicast
fi
kill -0 $video || fail "the producer ended"
echo "readers: all done"
