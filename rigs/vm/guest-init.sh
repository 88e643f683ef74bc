#!/bin/busybox sh
# shellcheck shell=dash
# The guest's /init. Mounts the guest's files, then runs the commands that the host puts into the folder "exchange", in
# the order of their numbers. Those with an exit code ran before a restart of the guest and are not repeated.
#
# input: 9p shares of the host
#   tree            the guest's files
#   built           the host's build directory
#   scripts         rigs/vm/guest
#   exchange        commands and their results:
#   exchange/up     written by this script: the guest is ready
#   exchange/N.ko   optional kernel module, inserted before command N
#   exchange/N.parameters  the module's parameters
#   exchange/N.sh   command N; its output goes to N.out and its exit code to N.rc
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc p /proc
mount -t sysfs s /sys
mount -t devtmpfs d /dev
for module in /mod/*.ko; do
  insmod "$module" || echo "insmod $module failed"
done

share="trans=virtio,version=9p2000.L,msize=262144"
mount -t 9p -o $share,ro,cache=loose tree /r || echo "no tree"
mount -t proc p /r/proc
mount -t sysfs s /r/sys
mount --bind /dev /r/dev
mkdir -p /dev/shm
mount -t tmpfs t /dev/shm
mount -t tmpfs t /r/tmp
mkdir /r/tmp/built /r/tmp/scripts /r/tmp/exchange
mount -t 9p -o $share,ro,cache=loose built /r/tmp/built || echo "nothing built"
mount -t 9p -o $share,ro scripts /r/tmp/scripts || echo "no scripts"
mount -t 9p -o $share exchange /r/tmp/exchange || echo "no exchange"
ifconfig lo up

exchange=/r/tmp/exchange
next=1
while [ -e $exchange/$next.rc ]; do next=$((next + 1)); done
cut -d' ' -f1 /proc/uptime > $exchange/up
while :; do
  while [ ! -e $exchange/$next.sh ]; do sleep 0.05; done
  # shellcheck disable=SC2046  # Each parameter is a word.
  [ ! -e $exchange/$next.ko ] || insmod $exchange/$next.ko $(cat $exchange/$next.parameters)
  chroot /r /bin/bash /tmp/exchange/$next.sh > $exchange/$next.out 2>&1 < /dev/null
  echo $? > $exchange/$next.new
  mv $exchange/$next.new $exchange/$next.rc
  next=$((next + 1))
done
