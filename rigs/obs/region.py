"""Regions of shm2 by libshm2 and ctypes, as the tests of the plugin for OBS need them."""

import ctypes as c
import os

NONE = (1 << 64) - 1


class Plane(c.Structure):
    """shm2_plane."""

    _fields_ = [
        ("data", c.c_void_p),
        ("offset", c.c_uint64),
        ("stride", c.c_uint64),
        ("row_bytes", c.c_uint64),
        ("rows", c.c_uint32),
        ("element_bytes", c.c_uint32),
        ("element_pixels", c.c_uint32),
        ("tiles", c.c_uint32 * 5),
    ]


def _load():
    lib = c.CDLL(os.environ["SHM2_LIBRARY"])
    for name in ["shm2_last_error", "shm2_frame_caps", "shm2_status_name"]:
        getattr(lib, name).restype = c.c_char_p
    for name in ["shm2_slot_data", "shm2_frame_data", "shm2_producer_options_new"]:
        getattr(lib, name).restype = c.c_void_p
    for name in ["shm2_frame_size"]:
        getattr(lib, name).restype = c.c_size_t
    for name in ["shm2_frame_time", "shm2_frame_pts", "shm2_monotonic_ns", "shm2_frame_missed"]:
        getattr(lib, name).restype = c.c_uint64
    return lib


LIB = _load()


class Error(Exception):
    """A status other than SHM2_OK, with the library's sentence."""


def check(status):
    """Raises the library's sentence."""
    if status != 0:
        raise Error(LIB.shm2_last_error().decode())


def now():
    """The monotonic clock."""
    return LIB.shm2_monotonic_ns()


class Producer:
    """A region of this process."""

    def __init__(self, name, caps, size=64 << 20):
        self.handle = c.c_void_p()
        options = c.c_void_p(LIB.shm2_producer_options_new())
        check(LIB.shm2_producer_options_set_size(options, c.c_uint64(size)))
        check(LIB.shm2_producer_create(name.encode(), options, c.byref(self.handle)))
        self.set_caps(caps)

    def set_caps(self, caps):
        """Describes the following frames."""
        check(LIB.shm2_producer_set_caps(self.handle, caps.encode()))

    def _publish(self, slot, time, meta=b""):
        check(LIB.shm2_slot_set_meta(slot, meta, c.c_size_t(len(meta))))
        if time is not None:
            check(LIB.shm2_slot_set_time(slot, c.c_uint64(time)))
            check(LIB.shm2_slot_set_pts(slot, c.c_uint64(time)))
        check(LIB.shm2_producer_publish(self.handle, slot, None))

    def send(self, data, time=None):
        """Publishes bytes."""
        slot = c.c_void_p()
        check(LIB.shm2_producer_reserve(self.handle, c.c_size_t(len(data)), c.byref(slot)))
        check(LIB.shm2_slot_write(slot, c.c_size_t(0), bytes(data), c.c_size_t(len(data))))
        self._publish(slot, time)

    def send_planes(self, planes, time=None, meta=b""):
        """Publishes a picture: rows of bytes for each plane, as arrays of numpy with two dimensions."""
        size, slot = c.c_size_t(), c.c_void_p()
        check(LIB.shm2_producer_frame_size(self.handle, c.byref(size)))
        check(LIB.shm2_producer_reserve(self.handle, size, c.byref(slot)))
        for index, rows in enumerate(planes):
            plane = Plane()
            check(LIB.shm2_slot_plane(slot, c.c_uint32(index), c.byref(plane), c.c_size_t(c.sizeof(plane))))
            assert rows.shape == (plane.rows, plane.row_bytes), (index, rows.shape, plane.rows, plane.row_bytes)
            data = rows.tobytes()
            for row in range(plane.rows):
                at = plane.data + row * plane.stride
                c.memmove(at, data[row * plane.row_bytes : (row + 1) * plane.row_bytes], plane.row_bytes)
        self._publish(slot, time, meta)

    def send_empty(self):
        """Publishes a frame of the size that the caps tell, or a small one, with whatever was in its memory."""
        size, slot = c.c_size_t(), c.c_void_p()
        if LIB.shm2_producer_frame_size(self.handle, c.byref(size)) != 0:
            size.value = 5760
        check(LIB.shm2_producer_reserve(self.handle, size, c.byref(slot)))
        self._publish(slot, now())

    def close(self):
        """Ends the region; once more is nothing."""
        LIB.shm2_producer_free(self.handle)
        self.handle = c.c_void_p()


class Frame:
    """A frame, copied."""

    def __init__(self, handle):
        self.caps = (LIB.shm2_frame_caps(handle, None) or b"").decode()
        self.time = LIB.shm2_frame_time(handle)
        self.pts = LIB.shm2_frame_pts(handle)
        self.missed = LIB.shm2_frame_missed(handle)
        self.data = c.string_at(LIB.shm2_frame_data(handle), LIB.shm2_frame_size(handle))
        self.planes = []
        plane = Plane()
        while self.caps.startswith("video/") and len(self.planes) < 4:
            status = LIB.shm2_frame_plane(
                handle, c.c_uint32(len(self.planes)), c.byref(plane), c.c_size_t(c.sizeof(plane))
            )
            if status != 0:
                break
            self.planes.append((plane.offset, plane.stride, plane.row_bytes, plane.rows))


class Consumer:
    """A reader of a region."""

    def __init__(self, name):
        self.handle = c.c_void_p()
        check(LIB.shm2_consumer_open(name.encode(), None, c.byref(self.handle)))

    def next(self, seconds):
        """The next frame; None after so many seconds."""
        frame = c.c_void_p()
        status = LIB.shm2_consumer_next(self.handle, c.c_int64(int(seconds * 1e9)), c.byref(frame))
        if status == 1:
            return None
        check(status)
        taken = Frame(frame)
        LIB.shm2_frame_free(frame)
        return taken

    def close(self):
        """Detaches."""
        LIB.shm2_consumer_free(self.handle)
