#!/bin/bash
# Uses ivshmem device 2, which the guest may only read, while a producer of the host is live: a consumer that copies,
# which must work, then a consumer with leases and a producer, which must be refused. Prints what the programs said.
#
# input: none; the current folder has the programs
timeout 60 ./shm2_consumer ivshmem://2 300 --timeout 20 --json
timeout 60 ./shm2_consumer ivshmem://2 300 --timeout 20 --access lease 2>&1 || true
timeout 60 ./shm2_producer ivshmem://2 10 --wait 0 2>&1 || true
