#!/bin/sh
# The units of the packages under systemd, one after another: each script purges its package at the end.
set -eu
for service in zenoh rtsp relay; do
  echo "shm2-$service"
  sh "/mnt/project/rigs/packages/$service.sh"
done
