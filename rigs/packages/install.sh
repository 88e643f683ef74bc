#!/bin/sh
# Installs the packages by apt, as a user does: an older version on a bare system, purged again; then once more, changed
# and upgraded.
#
# usage: install.sh all|most|systemd
#   systemd  only installs what the relay's unit needs
# Is checked on its own.
# shellcheck source=/dev/null
. /mnt/project/rigs/packages/prelude.sh
set -eu

cd /mnt/packages
if [ "$1" = systemd ]; then
  apt_install gstreamer1.0-tools python3-minimal ./new/*.deb
  exit 0
fi
before=$(dpkg-query -W | wc -l)
apt_install ./old/*.deb
count=$(find new -name '*.deb' | wc -l)
[ "$(ours | wc -l)" = "$count" ] || fail "installed are: $(ours)"
ok "installed $count packages on a bare system, with $(($(dpkg-query -W | wc -l) - before - count)) others by apt"

# Word splitting is meant: names of packages.
# shellcheck disable=SC2046
dpkg --purge $(ours) >/tmp/purge.log 2>&1 || fail "$(cat /tmp/purge.log)"
[ -z "$(ours)" ] || fail "after the purge there are: $(ours)"
files >/tmp/files
[ ! -e /run/shm2 ] || fail "left after the purge: /run/shm2"
! grep shm2 /tmp/files || fail "left after the purge"
ok "purged: nothing is left"

# What the other scripts use, and the files to compare with at the end.
apt_install gstreamer1.0-tools gstreamer1.0-plugins-base g++ pkg-config python3-minimal
files >/var/log/files-before

apt_install ./old/*.deb
echo '# Of the administrator.' >>/etc/shm2/camera.toml
apt_install ./new/*.deb
new=$(dpkg-deb -f new/shm2-tools_*.deb Version)
for package in $(ours); do
  [ "$(dpkg-query -W -f '${Version} ${db:Status-Status}' "$package")" = "$new installed" ] || fail "$package: no $new"
done
tail -n 1 /etc/shm2/camera.toml | grep -q administrator || fail "the changed configuration file is lost"
[ -e /etc/shm2/camera.toml.dpkg-dist ] || fail "the new configuration file is not beside the changed one"
ok "upgraded to $new: the changed configuration file survived"
dpkg --audit | grep . && fail "dpkg --audit complains"
# shellcheck disable=SC2046
dpkg --verify $(ours) | grep -v ' c /etc/shm2/camera.toml$' && fail "installed files differ from the packages'"
ok "dpkg --verify finds each file as it was packed"
