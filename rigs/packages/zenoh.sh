#!/bin/sh
# The units of the bridge over zenoh under systemd, in a container that has booted: one publishes, the other one opens.
# Is checked on its own.
# shellcheck source=/dev/null
. /mnt/project/rigs/packages/prelude.sh
set -eu
cd /run
unit=shm2_zenoh@publish.service
# shellcheck source=/dev/null
. /mnt/project/rigs/packages/unit.sh
: "${size:?}"

# Twenty frames of the region that the second bridge has opened, for a user of the group video.
works() {
  bytes=$(setpriv --reuid nobody --regid video --clear-groups env HOME=/tmp GST_REGISTRY=/tmp/registry timeout 20 \
    gst-launch-1.0 -q shm2src shm-path=/dev/shm/opened num-buffers=20 ! "$size" ! fdsink 2>/tmp/frames.log | wc -c)
  [ "$bytes" = $((20 * 3072)) ] || fail "$bytes bytes through two bridges: $(cat /tmp/frames.log
    journalctl -u 'shm2_zenoh@*' -o cat --no-pager | tail)"
}

start() {
  [ "$(stat -c '%A %U %G' /etc/shm2/zenoh)" = "drwxr-x--- root shm2-zenoh" ] || fail "$(stat /etc/shm2/zenoh)"
  printf 'ARGUMENTS="open %s/camera --as /dev/shm/opened --no-multicast --connect tcp/127.0.0.1:7447"\n' "$(hostname)" \
    >/etc/shm2/zenoh/open.conf
  systemctl start $unit shm2_zenoh@open || fail "the services do not start: $(journalctl -u 'shm2_zenoh@*' -o cat)"
  works
  [ "$(stat -c '%U %G %a' /dev/shm/opened)" = "shm2-zenoh video 660" ] || fail "$(stat /dev/shm/opened)"
  ok "started with the packed publish.conf; a region of one bridge read from the other one, by the group video"
}

wrong() {
  echo 'ARGUMENTS="publish camera --bogus"' >/etc/shm2/zenoh/wrong.conf
  systemctl start shm2_zenoh@wrong || true
  until_true "a failure" systemctl is-failed -q shm2_zenoh@wrong
  status=$(systemctl status --no-pager shm2_zenoh@wrong) || true
  echo "$status" | grep -q bogus || fail "the status does not name the option: $status"
  rm /etc/shm2/zenoh/wrong.conf
  ok "a wrong option is named by the status and not tried again"
}

package() {
  upgraded shm2-zenoh
  purged shm2-zenoh
  left=$(find /etc/shm2 -name '*zenoh*')
  [ -z "$left" ] || fail "left after the purge: $left"
  [ ! -e /dev/shm/opened ] || fail "the opened region is left"
  ok "an upgrade restarts the running service, a purge ends and disables it"
}

camera
start
wrong
killed
confined
package
end_camera
