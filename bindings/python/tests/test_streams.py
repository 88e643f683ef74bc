"""Audio, records, encoded frames, events, metas and times."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import shm2

SECOND = 10.0

SAMPLES = [
    ("S8", "i1"),
    ("U8", "u1"),
    ("S16LE", "<i2"),
    ("S16BE", ">i2"),
    ("U16LE", "<u2"),
    ("S24_32LE", "<i4"),
    ("S32LE", "<i4"),
    ("F32LE", "<f4"),
    ("F64LE", "<f8"),
    ("F64BE", ">f8"),
]


@pytest.mark.parametrize(("name", "dtype"), SAMPLES, ids=[name for name, _ in SAMPLES])
def test_audio_has_samples_and_channels(region: str, name: str, dtype: str) -> None:
    with (
        shm2.Producer(region, format=name, rate=48000, channels=2) as out,
        shm2.Consumer(region, timeout=SECOND) as frames,
    ):
        sound = np.arange(20).reshape(10, 2).astype(dtype)
        with out.frame(10) as f:
            f.array[...] = sound
        frame = frames.next()
        assert (frame.format, frame.rate, frame.channels, frame.size) == (name, 48000, 2, None)
        assert frame.array.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(frame.array, sound)
        out.send(sound[:3])
        assert frames.next().array.shape == (3, 2)


def test_samples_of_three_bytes_are_bytes(region: str) -> None:
    with (
        shm2.Producer(region, format="S24LE", rate=48000, channels=2) as out,
        shm2.Consumer(region, timeout=SECOND) as frames,
    ):
        sound = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
        out.send(sound)
        np.testing.assert_array_equal(frames.next().array, sound)


def test_planar_audio_is_samples_and_channels_too(region: str) -> None:
    caps = "audio/x-raw, format=F32LE, layout=non-interleaved, rate=48000, channels=3"
    with shm2.Producer(region, caps=caps) as out, shm2.Consumer(region, timeout=SECOND) as frames:
        sound = np.arange(15, dtype=np.float32).reshape(5, 3)
        with out.frame(5) as f:
            assert f.array.strides == (4, 20)
            f.array[...] = sound
        frame = frames.next()
        np.testing.assert_array_equal(frame.array, sound)
        assert [plane.shape for plane in frame.planes] == [(5,)] * 3
        np.testing.assert_array_equal(np.asarray(frame.planes[1]), sound[:, 1])
        np.testing.assert_array_equal(np.frombuffer(bytes(frame), np.float32), sound.T.ravel())


RECORD = np.dtype([("id", "<u4"), ("score", "<f8"), ("box", "<i2", (4,)), ("name", "S8"), ("inner", [("a", "?")])])


@pytest.mark.parametrize("dtype", [RECORD, np.dtype([("a", "u1"), ("b", "<u8")], align=True)])
def test_records_keep_their_dtype(region: str, dtype: np.dtype[np.void]) -> None:
    with shm2.Producer(region, dtype=dtype) as out, shm2.Consumer(region, timeout=SECOND) as frames:
        records = np.zeros(3, dtype)
        name = (dtype.names or ("",))[0]
        records[name] = [1, 2, 3]
        out.send(records)
        frame = frames.next()
        assert frame.media_type == "application/x-shm2-struct"
        assert frame.array.dtype.itemsize == dtype.itemsize and frame.array.shape == (3,)
        np.testing.assert_array_equal(frame.array[name], [1, 2, 3])
        with out.frame(2) as f:
            f.array[name] = 7
        np.testing.assert_array_equal(frames.next().array[name], [7, 7])


def test_records_with_a_shape_are_arrays(region: str) -> None:
    with (
        shm2.Producer(region, dtype=np.float32, shape=(2, 3)) as out,
        shm2.Consumer(region, timeout=SECOND) as frames,
    ):
        matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
        with out.frame() as f:
            f.array[...] = matrix
        np.testing.assert_array_equal(frames.next().array, matrix)
        with pytest.raises(shm2.DataError, match=r"shape \(3, 2\), the frame has \(2, 3\)"):
            out.send(matrix.T)
        with pytest.raises(shm2.DtypeError, match="float64"):
            out.send(matrix.astype(np.float64))


def test_objects_are_no_plain_data(region: str) -> None:
    with pytest.raises(shm2.DtypeError, match="Python objects"):
        shm2.Producer(region, dtype=np.dtype([("a", object)]))
    for text in [
        "|O",
        "O",
        "object",
        '{\\"names\\":[\\"a\\"],\\"formats\\":[\\"|O\\"],\\"offsets\\":[0],\\"itemsize\\":8}',
        "<f4,O",
        "{}",
        "[[1]]",
        "[" * 2000,
    ]:
        caps = f'application/x-shm2-struct, dtype=(string)"{text}"'
        with shm2.Producer(region, caps=caps) as out, shm2.Consumer(region, timeout=SECOND) as frames:
            out.send(bytes(16))
            frame = frames.next()
            with pytest.raises(shm2.MediaError, match="plain data"):
                _ = frame.array
            assert bytes(frame) == bytes(16)


def test_encoded_frames_are_bytes(region: str) -> None:
    caps = "image/jpeg, width=320, height=240, framerate=5/1"
    with shm2.Producer(region, caps=caps) as out, shm2.Consumer(region, timeout=SECOND) as frames:
        frames.try_next()
        out.send(b"\xff\xd8data", meta=b"\x02\x00\x00\x00\x03\x00\x00\x00abc")
        with out.frame(4) as f:
            memoryview(f)[:] = b"\xff\xd8\xff\xd9"
        frame = frames.next()
        assert bytes(frame) == b"\xff\xd8data" == frame.array.tobytes() == memoryview(frame).tobytes()
        assert (frame.format, frame.size, frame.rate, frame.media_type) == ("JPEG", (320, 240), 5, "image/jpeg")
        assert frame.metas == [(2, b"abc")] and len(frame.meta) == 11
        with pytest.raises(shm2.MediaError, match="image/jpeg is no raw video"):
            frame.to_rgb()
        frame = frames.next()
        assert bytes(frame) == b"\xff\xd8\xff\xd9" and frame.metas == []


def test_a_region_without_caps_has_bytes(region: str) -> None:
    with shm2.Producer(region) as out, shm2.Consumer(region, timeout=SECOND) as frames:
        out.send(b"hello")
        frame = frames.next()
        assert (bytes(frame), frame.caps, frame.format, frame.size, frame.media_type) == (
            b"hello",
            None,
            None,
            None,
            None,
        )
        assert frame.array.shape == (5,) and frame.planes[0].shape == (5,)
        out.send(b"")
        frame = frames.next()
        assert bytes(frame) == b"" and len(frame) == 0 and frame and frame.array.shape == (0,)


def test_times_flags_and_caps_arrive(region: str) -> None:
    with (
        shm2.Producer(region, format="GRAY8", size=(4, 4), rate=29.97) as out,
        shm2.Consumer(region, timeout=SECOND) as frames,
    ):
        with out.frame() as f:
            f.pts, f.dts, f.duration, f.flags = 40, -7, 20, 0x2000
            f.metas = [(1000, b"gain"), (1001, b"")]
            before = f.time
        frame = frames.next()
        assert (frame.pts, frame.dts, frame.duration, frame.flags) == (40, -7, 20, 0x2000)
        assert frame.metas == [(1000, b"gain"), (1001, b"")]
        assert frame.time == before and frame.published is not None and frame.published <= shm2.monotonic_ns()
        assert frame.rate == Fraction(30000, 1001) and frame.visible == (0, 0, 4, 4)
        caps = frame.caps
        assert caps is not None and caps["width"] == 4 and caps.media_type == "video/x-raw"
        assert caps == out.caps and str(caps).startswith("video/x-raw, format=(string)GRAY8") and len(caps) == 6
        assert "shm2.Frame 1 GRAY8 4x4, 16 bytes, pts=40" in repr(frame)
        with pytest.raises(shm2.MediaError, match="meta blob ends inside an item"), out.frame() as f:
            f.meta = b"gain"
        for _ in range(2):
            with out.frame():
                pass
        first, second = frames.next(), frames.next()
        assert first.pts is not None and second.pts is not None and first.pts < second.pts


def test_events_and_the_end_of_the_stream(region: str) -> None:
    with shm2.Producer(region) as out, shm2.Consumer(region, timeout=SECOND, events=True) as frames:
        frames.try_next()
        out.send(b"one")
        out.send_event(b"cut", pts=9)
        out.send(b"two")
        out.end_of_stream()
        received = list(frames)
        assert [(bytes(frame), frame.is_event) for frame in received] == [(b"one", False), (b"", True), (b"two", False)]
        assert (received[1].meta, received[1].pts) == (b"cut", 9)
        out.send(b"three")
        out.end_of_stream()
        assert bytes(frames.next()) == b"three"
        with pytest.raises(shm2.EndOfStream):
            frames.next()


def test_caps_are_described_without_a_region() -> None:
    caps = shm2.describe("video/x-raw(memory:SystemMemory), format=NV12, width=4, height=2, framerate=25/1")
    assert caps.features == ("memory:SystemMemory",) and caps["framerate"] == 25
    with pytest.raises(shm2.MediaError, match="height"):
        shm2.describe("video/x-raw, format=NV12, width=4")


@pytest.mark.parametrize(
    "dtype",
    [
        '{"names":["a"],"formats":["<f8"],"offsets":[0],"itemsize":1e400}',
        '["<f8",[4]]',
        '["<f8",[Infinity]]',
        '{"names":["a"],"formats":["<f8"],"offsets":[0],"itemsize":9999999999999999999999}',
    ],
)
def test_a_dtype_that_lies_is_an_exception_of_the_package(region: str, dtype: str) -> None:
    text = dtype.replace('"', '\\"')
    caps = f'application/x-shm2-struct, dtype=(string)"{text}"'
    with shm2.Producer(region, caps=caps) as out, shm2.Consumer(region, timeout=SECOND) as frames:
        out.send(bytes(64))
        frame = frames.next()
        with pytest.raises(shm2.MediaError, match="plain data"):
            _ = frame.array


def test_a_shape_that_lies_and_channels_without_end_are_exceptions(region: str) -> None:
    caps = 'application/x-shm2-struct, dtype=(string)"\\"<f8\\"", shape=(string)"-5"'
    with shm2.Producer(region, caps=caps) as out, shm2.Consumer(region, timeout=SECOND) as frames:
        out.send(bytes(64))
        frame = frames.next()
        with pytest.raises(shm2.MediaError, match="shape"):
            _ = frame.array
        with pytest.raises(shm2.MediaError, match="no picture"):
            frame.stacked()
    caps = "audio/x-raw, format=U8, layout=non-interleaved, rate=1, channels=2147483647"
    with pytest.raises(shm2.Error, match="1 to 16384"):
        shm2.Producer(region, caps=caps)
