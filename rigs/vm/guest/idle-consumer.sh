#!/bin/bash
# Measures a consumer that waits for frames for 6 seconds, after 8 seconds in which it becomes idle, and prints
# "idle_ppm=N looks=N": its processor time in millionths, and its context switches a second.
#
# input: none; the current folder has the programs
sleep 60 | ./shm2_peer idle-consumer ivshmem://0 &
sleep 8
pid=$(pgrep -f 'shm2_peer idle-consumer ivshmem' | tail -n 1)
busy_ns() {
  cat "/proc/$pid/task/"*/schedstat | awk '{s += $1} END {print s}'
}
switches() {
  cat "/proc/$pid/task/"*/status | awk '/ctxt_switches/ {s += $2} END {print s}'
}
busy_before=$(busy_ns)
switches_before=$(switches)
sleep 6
busy_after=$(busy_ns)
echo "idle_ppm=$(((busy_after - busy_before) / 6000)) looks=$((($(switches) - switches_before) / 6))"
pkill shm2_peer
true
