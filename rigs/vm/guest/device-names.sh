#!/bin/bash
# Starts a producer at each name of ivshmem device 1, which must work, and at names that must be refused, and prints
# what the producer said. The device's address is printed as ADDRESS.
#
# input: none; the current folder has the programs
address=$(device-address.sh)
for name in ivshmem://1 'ivshmem://?size=16M' "ivshmem://$address" "ivshmem:///sys/bus/pci/devices/$address"; do
  ./shm2_producer "$name" 3 --wait 0 -q > /dev/null && echo "made at ${name/$address/ADDRESS}"
done
for name in ivshmem:// ivshmem://7 'ivshmem://?size=1G' ivshmem://0000:7f:00.0 ivshmem:///dev/kvmfr0; do
  ./shm2_producer "$name" 3 --wait 0 -q 2>&1 && echo wrong
done
ls -l "/sys/bus/pci/devices/$address/resource2"*
