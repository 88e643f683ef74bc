"""A slow and lossy cable between two TUN devices, for kernels without a network emulator.

link.py NAME NAME MBIT_PER_SECOND LOSS_PERCENT DELAY_MS

Each direction has the rate, loses that share of its packets, and delays the others. What waits for longer than QUEUE
seconds for the rate is lost, too, as in a switch.
"""

import fcntl
import heapq
import os
import random
import select
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001
QUEUE = 0.1


def tun(name: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN_NO_PI))
    return fd


def main() -> None:
    near, far = tun(sys.argv[1]), tun(sys.argv[2])
    rate, loss, delay = float(sys.argv[3]) * 1e6, float(sys.argv[4]) / 100, float(sys.argv[5]) / 1000
    other = {near: far, far: near}
    free = {near: 0.0, far: 0.0}
    waiting: list[tuple[float, int, int, bytes]] = []
    number = 0
    chance = random.Random(1)
    print("link is ready", flush=True)
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, fd, packet = heapq.heappop(waiting)
            try:
                os.write(fd, packet)
            except OSError:
                pass  # The device is not up yet.
        timeout = max(0.0, waiting[0][0] - now) if waiting else None
        for fd in select.select([near, far], [], [], timeout)[0]:
            try:
                packet = os.read(fd, 65536)
            except OSError:
                continue
            now = time.monotonic()
            leaves = max(now, free[fd]) + len(packet) * 8 / rate
            if chance.random() < loss or leaves - now > QUEUE:
                continue
            free[fd] = leaves
            number += 1
            heapq.heappush(waiting, (leaves + delay, number, other[fd], packet))


main()
