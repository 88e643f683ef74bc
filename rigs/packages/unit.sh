# shellcheck shell=sh
# What a unit of the packages must do under systemd, whatever it does: $unit is its name, and the function works ends the
# script where it does not work. After prelude.sh.
: "${unit:?}"

show() {
  systemctl show --value -p "$1" "$unit"
}

# Whether the journal of the service has a line.
said() {
  journalctl -u "$unit" -o cat --no-pager | grep -q "$1"
}

is_new_main() {
  now=$(show MainPID)
  [ "$now" != 0 ] && [ "$now" != "$1" ] && [ "$(show ActiveState)" = active ]
}

# Of all test pictures.
size='video/x-raw,format=GRAY8,width=64,height=48'

# A region of another user, which the group video may read.
camera() {
  setpriv --reuid nobody --regid video --clear-groups env HOME=/tmp GST_REGISTRY=/tmp/registry-camera \
    gst-launch-1.0 -q videotestsrc is-live=true pattern=ball ! "$size,framerate=30/1" ! \
    shm2sink shm-path=/dev/shm/camera perms=0660 >/tmp/camera.log 2>&1 &
  camera=$!
  until_true "the camera's region" shm2 inspect /dev/shm/camera
}

end_camera() {
  kill "$camera"
  wait "$camera" || true
}

begin() {
  systemctl start "$unit" || fail "the service does not start: $(journalctl -u "$unit" -o cat --no-pager)"
  # Without a notification the start would have failed after 90 s.
  [ "$(show Type) $(show ActiveState) $(show NRestarts)" = "notify active 0" ] || fail "$(systemctl status "$unit")"
  works
}

killed() {
  pid=$(show MainPID)
  kill -KILL "$pid"
  until_true "a restart after kill -9" is_new_main "$pid"
  works
  ok "kill -9: restarted, $(show NRestarts) restart, works again"
}

watchdog() {
  mkdir -p "/run/systemd/system/$unit.d"
  printf '[Service]\nWatchdogSec=2\nTimeoutStopSec=1\n' >"/run/systemd/system/$unit.d/short.conf"
  systemctl daemon-reload
  systemctl restart "$unit"
  pid=$(show MainPID)
  sleep 3
  [ "$(show MainPID)" = "$pid" ] || fail "the watchdog ended a daemon that runs"
  kill -STOP "$pid"
  until_true "a restart by the watchdog" is_new_main "$pid"
  said 'Watchdog timeout' || fail "no watchdog in the journal"
  works
  rm -r "/run/systemd/system/$unit.d"
  systemctl daemon-reload
  ok "SIGSTOP: ended by the watchdog and restarted, works again; not ended while it runs"
}

# Changes the file $1 by the sed command $2, then adds a setting that does not exist.
reload() {
  pid=$(show MainPID)
  sed -i "$2" "$1"
  systemctl reload "$unit" || fail "the reload: $(journalctl -u "$unit" -o cat --no-pager | tail -n 5)"
  until_true "a reload in the journal" said 'the configuration was read again'
  cp "$1" /tmp/good
  echo 'unknown = 1' >>"$1"
  ! systemctl reload "$unit" 2>/dev/null || fail "a reload with a wrong file succeeds"
  until_true "the wrong setting in the journal" said 'unknown field'
  # By another way than the unit.
  kill -HUP "$pid"
  until_true "a refusal in the journal" said 'the configuration is unchanged'
  cat /tmp/good >"$1"
  [ "$(show MainPID) $(show ActiveState)" = "$pid active" ] || fail "a reload ended the daemon"
  works
  ok "reload: a changed file is read again; a bad one is an error, and changes nothing"
}

# The unit's exposure level, and what the kernel says of its process.
confined() {
  level=$(systemd-analyze security --no-pager "$unit" | sed -n 's/.*exposure level[^:]*: \([0-9.]*\) .*/\1/p')
  [ "${level%.*}" -lt 3 ] || fail "exposure level $level"
  status=$(grep -E '^(Seccomp|NoNewPrivs|CapEff|CapBnd):' "/proc/$(show MainPID)/status" | tr -s '\t\n' ' ')
  [ "$status" = "CapEff: 0000000000000000 CapBnd: 0000000000000000 NoNewPrivs: 1 Seccomp: 2 " ] || fail "$status"
  ok "exposure level $level of 10 (systemd-analyze security), no capability, seccomp"
}

# Installs the package $1 once more while the service runs and is enabled.
upgraded() {
  systemctl enable -q "$unit"
  pid=$(show MainPID)
  apt_install --reinstall /mnt/packages/new/"$1"_*.deb
  until_true "a restart by an upgrade" is_new_main "$pid"
  works
}

purged() {
  dpkg --purge "$1" >/tmp/purge.log 2>&1 || fail "$(cat /tmp/purge.log)"
  systemctl is-active -q "$unit" && fail "the service runs without its package"
  left=$(find /etc/systemd -name 'shm2*')
  [ -z "$left" ] || fail "enabled after the purge: $left"
}
