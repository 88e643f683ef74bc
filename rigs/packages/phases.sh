#!/bin/sh
# Runs the scripts of the rig on a fresh root, in their order.
#
# usage: phases.sh PART ROOT
#   PART  all; most, without OBS; or systemd for that alone
set -eu
part=$1 root=$2
here=$(dirname "$0")
scripts=/mnt/project/rigs/packages

inside() {
  unshare --mount --pid --fork --kill-child sh "$here/inside.sh" "$root" "$@"
}

# Boots the root as a container without a network, and runs a script in it.
booted() {
  log=$root/../boot.log
  SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet --register=no --keep-unit --private-network \
    --console=pipe --directory="$root" --boot </dev/null >"$log" 2>&1 &
  container=$!
  begun=$(date +%s)
  until leader=$(pgrep -P $container) && nsenter --target "$leader" --all systemctl is-system-running 2>/dev/null |
    grep -q -E 'running|degraded'; do
    if ! kill -0 $container 2>/dev/null || [ $(($(date +%s) - begun)) -gt 60 ]; then
      cat "$log" >&2
      return 1
    fi
    sleep 0.2
  done
  code=0
  nsenter --target "$leader" --all env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive sh "$@" </dev/null || code=$?
  nsenter --target "$leader" --all systemctl poweroff 2>/dev/null || kill -KILL "$leader"
  wait $container || true
  return $code
}

inside $scripts/install.sh "$part"
if [ "$part" = systemd ]; then
  booted $scripts/units.sh
else
  inside $scripts/use.sh
  booted $scripts/units.sh
  inside $scripts/purge.sh
  [ "$part" = most ] || inside $scripts/obs.sh
fi
