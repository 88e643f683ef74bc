#!/bin/sh
# The unit of the RTSP server under systemd, in a container that has booted.
# Is checked on its own.
# shellcheck source=/dev/null
. /mnt/project/rigs/packages/prelude.sh
set -eu
cd /run
unit=shm2_rtspd.service
# shellcheck source=/dev/null
. /mnt/project/rigs/packages/unit.sh
url=rtsp://127.0.0.1:8554/camera

# Twenty access units of H.264, with these options of rtspsrc.
play() {
  HOME=/tmp GST_REGISTRY=/tmp/registry timeout 20 gst-launch-1.0 -q rtspsrc "location=$url" protocols=tcp "$@" ! \
    rtph264depay ! h264parse ! 'video/x-h264,stream-format=byte-stream,alignment=au' ! \
    identity eos-after=21 ! fdsink 2>/tmp/play.log | wc -c
}

works() {
  bytes=$(play)
  [ "$bytes" -gt 1000 ] || fail "$url gave $bytes bytes: $(cat /tmp/play.log; journalctl -u $unit -o cat --no-pager | tail)"
  shm2_rtspd --status --control /run/shm2/rtsp/control >/tmp/status || fail "no status"
  grep -q '"/camera"' /tmp/status || fail "no mount in the status: $(cat /tmp/status)"
}

start() {
  begin
  [ "$(systemctl show --value -p User $unit)" = shm2-rtsp ] || fail "runs as another user"
  ok "started (Type=notify), status \"$(show StatusText)\"; the region of another user's camera by RTSP, H.264"
}

# Only root and the server read the passwords.
users() {
  printf 'ann:correct horse\n' >/tmp/users
  install -m 640 -g shm2-rtsp /tmp/users /etc/shm2/rtsp/users
  sed -i '1i users_file = "/etc/shm2/rtsp/users"' /etc/shm2/rtsp.toml
  systemctl reload $unit || fail "the reload: $(journalctl -u $unit -o cat --no-pager | tail)"
  until_true "a reload in the journal" said 'the configuration was read again'
  [ "$(play)" = 0 ] || fail "played without a password"
  [ "$(play user-id=ann user-pw=wrong)" = 0 ] || fail "played with a wrong password"
  [ "$(play user-id=ann user-pw='correct horse')" -gt 1000 ] || fail "not played with the password: $(cat /tmp/play.log)"
  setpriv --reuid nobody --regid video --clear-groups cat /etc/shm2/rtsp/users 2>/dev/null && fail "others read it"
  sed -i 1d /etc/shm2/rtsp.toml
  systemctl restart $unit
  ok "a file of passwords: plays with the right one only; read by the server and not by others"
}

wrong() {
  cp /etc/shm2/rtsp.toml /tmp/rtsp.toml
  systemctl stop $unit
  echo 'bogus = 1' >>/etc/shm2/rtsp.toml
  ! systemctl start $unit || fail "started with a setting that does not exist"
  sleep 3
  status=$(systemctl status --no-pager $unit) || true
  echo "$status" | grep -q bogus || fail "the status does not name the setting: $status"
  [ "$(show NRestarts)" = 0 ] || fail "restarted with a wrong setting"
  cat /tmp/rtsp.toml >/etc/shm2/rtsp.toml
  systemctl start $unit
  ok "a wrong setting is named by the status and not tried again"
}

package() {
  upgraded shm2-rtspd
  purged shm2-rtspd
  left=$(find /etc/shm2 -name '*rtsp*')
  [ -z "$left" ] || fail "left after the purge: $left"
  ok "an upgrade restarts the running service, a purge ends and disables it"
}

camera
start
users
reload /etc/shm2/rtsp.toml '/^path/s|$| # changed|'
wrong
killed
watchdog
confined
package
end_camera
