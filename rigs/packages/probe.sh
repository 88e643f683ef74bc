#!/bin/sh
# Tries what the relay's service must not do; runs inside its sandbox, and before as root outside of it, so that it is
# known that the sandbox refuses.
#
# usage: probe.sh [outside]
try() {
  what=$1
  shift
  if "$@" >/dev/null 2>&1; then echo "could: $what"; else echo "refused: $what"; fi
}

try "write to /etc" touch /etc/shm2/probe
try "write to /usr" touch /usr/bin/probe
try "write to /var/lib" touch /var/lib/probe
try "read a home" cat /root/.bashrc
try "read /etc/shadow" cat /etc/shadow
try "see a process of another user" test -e /proc/1/status
try "make a user namespace" unshare --user true
try "make a mount" mount -t tmpfs tmpfs /tmp
try "make a device" mknod /dev/shm/probe c 1 3
try "become root" setpriv --reuid 0 true
try "open a raw socket" python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)'
[ "${1:-}" = outside ] || try "set the clock" date -s '2020-01-01'
try "load a module" python3 -c 'import ctypes; exit(ctypes.CDLL(None).syscall(313, -1, b"", 0) != 0)'
try "read the kernel's log" dmesg
rm -f /etc/shm2/probe /usr/bin/probe /var/lib/probe /dev/shm/probe 2>/dev/null
if touch /dev/shm/shm2-probe && rm /dev/shm/shm2-probe; then echo "allowed: write to /dev/shm"; fi
echo end
