#!/bin/sh
# Installs the plugin for OBS by apt, with OBS, on a system that has nothing of both; lets OBS load it; purges it.
# Is checked on its own.
# shellcheck source=/dev/null
. /mnt/project/rigs/packages/prelude.sh
set -eu

cd /mnt/packages
if [ -z "$(find obs -name '*.deb')" ]; then
  echo "skipped: obs-shm2: the package was not made, see above"
  exit 0
fi
begun=$(date +%s)
before=$(dpkg-query -W | wc -l)
apt_install ./obs/*.deb ./new/libshm2-0_*.deb
ok "obs-shm2 installed beside OBS $(dpkg-query -W -f '${Version}' obs-studio), with $(($(dpkg-query -W | wc -l) - before - 2)) others by apt, in $(($(date +%s) - begun)) s"

plugin=$(dpkg -L obs-shm2 | grep '/obs-plugins/obs-shm2\.so$')
[ "${plugin%/*}" = "$(dpkg -L obs-studio obs-plugins 2>/dev/null | sed -n 's,/obs-ffmpeg\.so$,,p')" ] ||
  fail "$plugin is not beside the plugins of OBS"
# -r: functions too, which are looked up at their first call otherwise.
ldd -r "$plugin" >/tmp/ldd 2>&1 || fail "$(cat /tmp/ldd)"
! grep -e 'not found' -e 'undefined symbol' /tmp/ldd || fail "$plugin does not resolve"
[ -s /usr/share/obs/obs-plugins/obs-shm2/locale/en-US.ini ] || fail "the texts of the plugin are not there"
ok "$(grep -c '=>' /tmp/ldd) libraries of the plugin and all its functions are found"

apt_install xvfb xkb-data
HOME=/tmp/home XDG_RUNTIME_DIR=/tmp/home
export HOME XDG_RUNTIME_DIR
mkdir -p $HOME/.config/obs-studio
printf '[General]\nFirstRun=true\nEnableAutoUpdates=false\n' >$HOME/.config/obs-studio/global.ini
Xvfb :97 -screen 0 800x600x24 >/tmp/screen.log 2>&1 &
screen=$!
until_true "the screen" test -S /tmp/.X11-unix/X97
DISPLAY=:97 LIBGL_ALWAYS_SOFTWARE=1 obs --multi --disable-updater >/tmp/obs.log 2>&1 &
obs=$!
until_true "the plugin in OBS: $(tail -n 5 /tmp/obs.log)" grep -q '\[shm2\] libshm2' /tmp/obs.log
until_true "all plugins in OBS" grep -q 'Loaded Modules' /tmp/obs.log
kill -KILL $obs $screen
wait $obs $screen || true
ok "OBS loads the plugin: $(sed -n 's/.*\[shm2\] //p;T;q' /tmp/obs.log)"

dpkg --purge obs-shm2 libshm2-0 >/tmp/purge.log 2>&1 || fail "$(cat /tmp/purge.log)"
files >/tmp/files
! grep -e shm2 /tmp/files || fail "left after the purge of obs-shm2"
ok "obs-shm2 purged: nothing is left; all of it took $(($(date +%s) - begun)) s"
