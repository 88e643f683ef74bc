#!/bin/sh
# Runs a command, and lets the kernel start programs for aarch64 with QEMU as long as it runs. Runs in a mount namespace
# of its own.
#
# usage: enter.sh private|shared QEMU COMMAND...
#   private  in a user namespace too, which has a list of handlers of its own (Linux 6.7): the entry ends with it
#   shared   the entry is one of the whole system, and is removed at the end
#   QEMU     a static program: it is opened now, and starts programs also below another root directory
set -e
form=$1 qemu=$2
shift 2
handlers=/proc/sys/fs/binfmt_misc
entry=shm2-aarch64
# The first bytes of a program: ELF, 64 bits, little-endian, version 1; executable or shared object; aarch64.
magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'

mount -t binfmt_misc binfmt_misc $handlers
if [ "$form" = shared ]; then
  # Of a run that was killed.
  [ ! -e $handlers/$entry ] || echo -1 >$handlers/$entry
  trap 'echo -1 >$handlers/$entry' EXIT
  trap 'exit 143' TERM INT HUP
fi
printf '%s' ":$entry:M::$magic:$mask:$qemu:PF" >$handlers/register
"$@"
