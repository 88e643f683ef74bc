#!/bin/bash
# Starts a peer in the background; its counts go into a file. The peer ends when its input ends: with the guest, or
# after 400 seconds.
#
# usage: start-peer.sh FILE ROLE DEVICE [OPTION...]
#   FILE    where the counts go
#   ROLE, DEVICE and OPTION are the arguments of shm2_peer
file=$1
shift
(sleep 400 | ./shm2_peer "$@" > "$file" 2>&1) &
echo started
