#!/bin/bash
# Gives ivshmem device 1 to the driver uio_cif, or takes it away again. Prints "no driver" when the kernel has none.
#
# usage: uio.sh bind|unbind
address=$(device-address.sh)
cd /sys/bus/pci || exit 1
case $1 in
  bind)
    [ -d drivers/hilscher ] || {
      echo no driver
      exit
    }
    echo hilscher > "devices/$address/driver_override"
    echo "$address" > drivers/hilscher/bind
    cat /sys/class/uio/uio0/maps/map*/size
    ls /dev/uio0
    ;;
  unbind)
    echo "$address" > drivers/hilscher/unbind
    echo > "devices/$address/driver_override"
    ;;
esac
