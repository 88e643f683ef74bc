#!/bin/sh
# The relay's unit under systemd, in a container that has booted.
# Is checked on its own.
# shellcheck source=/dev/null
. /mnt/project/rigs/packages/prelude.sh
set -eu
cd /run
unit=shm2_relayd@test.service
# shellcheck source=/dev/null
. /mnt/project/rigs/packages/unit.sh
: "${size:?}"

# Twenty frames for a user with this group; the consumer is the demand.
frames() {
  setpriv --reuid nobody --regid "$1" --clear-groups env HOME=/tmp GST_REGISTRY=/tmp/registry timeout 15 \
    gst-launch-1.0 -q shm2src shm-path=/dev/shm/test num-buffers=20 ! "$size" ! fdsink 2>/tmp/frames.log | wc -c
}

works() {
  [ "$(frames video)" = $((20 * 3072)) ] || fail "no frames for a user in the group video: $(cat /tmp/frames.log)"
  shm2_relayd --status --control /run/shm2/test/control | grep -q '"' || fail "no status"
}

configure() {
  cat >"/etc/shm2/$1.toml" <<END
output = "appsrc name=appsrc is-live=true format=time ! shm2sink shm-path=/dev/shm/$1 perms=0660"
input = "videotestsrc is-live=true ! $size,framerate=50/1"
splash = "videotestsrc is-live=true pattern=black ! $size,framerate=5/1"
cool_down = 500
$2
END
}

start() {
  configure test 'activate = "consumers"'
  begin
  [ "$(stat -c '%U %G %a' /dev/shm/test)" = "shm2-relay video 660" ] || fail "$(stat /dev/shm/test)"
  [ "$(frames nogroup)" = 0 ] || fail "frames for a user who is not in the group"
  ok "started (Type=notify), status \"$(show StatusText)\"; frames for the group video, none for others"
}

token() {
  printf '0123456789abcdef' >/tmp/token
  install -m 640 -g shm2-relay /tmp/token /etc/shm2/tokens/token
  configure token 'listen = ["unix:///run/shm2/token/demand"]
token_file = "/etc/shm2/tokens/token"'
  systemctl start shm2_relayd@token || fail "with a token: $(journalctl -u shm2_relayd@token -o cat --no-pager)"
  systemctl stop shm2_relayd@token
  rm /etc/shm2/token.toml
  ok "the service reads a token that others do not"
}

wrong() {
  configure wrong 'activate = "consumers"
bogus = 1'
  ! systemctl start shm2_relayd@wrong || fail "started with a setting that does not exist"
  sleep 3
  status=$(systemctl status --no-pager shm2_relayd@wrong) || true
  echo "$status" | grep -q bogus || fail "the status does not name the setting: $status"
  [ "$(systemctl show --value -p NRestarts shm2_relayd@wrong)" = 0 ] || fail "restarted with a wrong setting"
  # A fault that passes: a file in the region's place.
  configure wrong 'activate = "consumers"'
  echo 'no region' >/dev/shm/wrong
  systemctl start --no-block shm2_relayd@wrong
  sleep 7
  rm /dev/shm/wrong
  until_true "a start when the fault has passed" systemctl is-active -q shm2_relayd@wrong
  systemctl stop shm2_relayd@wrong
  rm /etc/shm2/wrong.toml
  ok "a wrong setting is named by the status and not tried again; a fault that passes is"
}

activation() {
  configure socket ''
  systemctl start shm2_relayd@socket.socket
  [ "$(stat -c '%F %G %a' /run/shm2/socket.socket)" = "socket video 660" ] || fail "$(stat /run/shm2/socket.socket)"
  systemctl is-active -q shm2_relayd@socket.service && fail "the service runs before the first client"
  /usr/bin/python3 -c 'import socket, time
s = socket.socket(socket.AF_UNIX); s.connect("/run/shm2/socket.socket"); time.sleep(30)' &
  client=$!
  until_true "the service after the first client" systemctl is-active -q shm2_relayd@socket.service
  HOME=/tmp timeout 15 gst-launch-1.0 -q shm2src shm-path=/dev/shm/socket num-buffers=20 ! fdsink | wc -c |
    grep -q "^$((20 * 3072))$" || fail "no frames by a socket of systemd"
  kill $client
  systemctl stop shm2_relayd@socket.socket shm2_relayd@socket.service
  ok "socket activation: the first client started the service, and got the input"
}

sandbox() {
  confined
  # What root can do in this container: the sandbox is what refuses it.
  unshare --mount sh /mnt/project/rigs/packages/probe.sh outside | sed -n 's/^could: //p' >/tmp/outside
  [ "$(wc -l </tmp/outside)" -ge 8 ] || fail "outside of the sandbox only these: $(cat /tmp/outside)"
  # The same unit with other work: it reports what it could do.
  drop=/run/systemd/system/shm2_relayd@probe.service.d
  mkdir -p $drop
  printf '[Service]\nType=oneshot\nRestart=no\nExecStart=\nExecStart=/bin/sh %s\nStandardOutput=file:/run/probe\n' \
    /mnt/project/rigs/packages/probe.sh >$drop/probe.conf
  systemctl daemon-reload
  systemctl start shm2_relayd@probe.service || fail "the probe: $(journalctl -u shm2_relayd@probe -o cat)"
  cat /run/probe
  while read -r line; do
    grep -q "^refused: $line$" /run/probe || fail "the sandbox does not refuse: $line"
  done </tmp/outside
  echo "of these, root can outside of the sandbox: $(paste -s -d , /tmp/outside)"
  grep -q '^end$' /run/probe || fail "the probe did not end"
  ! grep '^could' /run/probe || fail "the sandbox lets this pass"
  rm -r $drop
  ok "the sandbox refuses each of them"
}

package() {
  upgraded shm2-relayd
  systemctl stop $unit
  [ ! -e /dev/shm/test ] || fail "the region is left after the stop"
  systemctl start $unit
  purged shm2-relayd
  # The administrator's own files, which kept the folder.
  rm /etc/shm2/test.toml /etc/shm2/socket.toml
  left=$(find /etc/shm2 -mindepth 1)
  [ -z "$left" ] || fail "left in /etc/shm2 after the purge: $left"
  rmdir /etc/shm2
  ok "an upgrade restarts the running service, a stop removes its region, a purge ends and disables it"
}

start
token
wrong
reload /etc/shm2/test.toml 's/^cool_down.*/cool_down = 700/'
killed
watchdog
activation
sandbox
package
