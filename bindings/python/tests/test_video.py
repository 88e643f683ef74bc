"""Pictures: shapes, strides and dtypes of each kind of format, and conversion to RGB."""

from __future__ import annotations

import numpy as np
import pytest
import shm2

SECOND = 10.0

Layout = list[tuple[tuple[int, ...], str]]

# Format, then shape and dtype of each plane for a picture of 6x4 pixels.
LAYOUTS = [
    ("GRAY8", [((4, 6), "u1")]),
    ("GRAY16_LE", [((4, 6), "<u2")]),
    ("GRAY16_BE", [((4, 6), ">u2")]),
    ("RGB", [((4, 6, 3), "u1")]),
    ("BGR", [((4, 6, 3), "u1")]),
    ("RGBA", [((4, 6, 4), "u1")]),
    ("xRGB", [((4, 6, 4), "u1")]),
    ("RGB16", [((4, 6), "<u2")]),
    ("ARGB64", [((4, 6, 4), "<u2")]),
    ("RGB10A2_LE", [((4, 6), "<u4")]),
    ("GBR", [((4, 6), "u1")] * 3),
    ("RGB8P", [((4, 6), "u1"), ((256, 4), "u1")]),
    ("YUY2", [((4, 6, 2), "u1")]),
    ("UYVY", [((4, 6, 2), "u1")]),
    ("AYUV", [((4, 6, 4), "u1")]),
    ("NV12", [((4, 6), "u1"), ((2, 3, 2), "u1")]),
    ("NV21", [((4, 6), "u1"), ((2, 3, 2), "u1")]),
    ("NV16", [((4, 6), "u1"), ((4, 3, 2), "u1")]),
    ("I420", [((4, 6), "u1"), ((2, 3), "u1"), ((2, 3), "u1")]),
    ("Y444", [((4, 6), "u1")] * 3),
    ("I420_10LE", [((4, 6), "<u2"), ((2, 3), "<u2"), ((2, 3), "<u2")]),
    ("P010_10LE", [((4, 6), "<u2"), ((2, 3, 2), "<u2")]),
    ("P016_BE", [((4, 6), ">u2"), ((2, 3, 2), ">u2")]),
    ("Y210", [((4, 6, 2), "<u2")]),
    ("v210", [((4, 16), "u1")]),
]


def noise(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    random = np.random.default_rng(7)
    return random.integers(0, 250, shape).astype(dtype)


@pytest.mark.parametrize(("name", "layout"), LAYOUTS, ids=[name for name, _ in LAYOUTS])
def test_planes_have_the_shapes_of_their_format(
    region: str, name: str, layout: list[tuple[tuple[int, ...], str]]
) -> None:
    with shm2.Producer(region, format=name, size=(6, 4)) as out, shm2.Consumer(region, timeout=SECOND) as frames:
        pictures = [noise(shape, dtype) for shape, dtype in layout]
        with out.frame() as f:
            assert [(plane.shape, np.asarray(plane).dtype) for plane in f.planes] == [
                (s, np.dtype(d)) for s, d in layout
            ]
            for plane, picture in zip(f.planes, pictures, strict=True):
                np.asarray(plane)[...] = picture
        frame = frames.next()
        assert (frame.format, frame.size, frame.media_type) == (name, (6, 4), "video/x-raw")
        for plane, picture in zip(frame.planes, pictures, strict=True):
            array = np.asarray(plane)
            assert array.dtype == picture.dtype
            assert not array.flags.writeable and not array.flags.owndata
            np.testing.assert_array_equal(array, picture)
        if len(layout) == 1:
            np.testing.assert_array_equal(frame.array, pictures[0])
        else:
            with pytest.raises(shm2.MediaError, match=r"has \d planes: use planes"):
                _ = frame.array
        assert out.send(pictures if len(pictures) > 1 else pictures[0]) == 2
        for plane, picture in zip(frames.next().planes, pictures, strict=True):
            np.testing.assert_array_equal(np.asarray(plane), picture)


@pytest.mark.parametrize("size", [(5, 3), (1, 1), (7, 2)])
@pytest.mark.parametrize("name", ["BGR", "YUY2", "NV12", "I420", "P010_10LE"])
def test_odd_sizes_keep_their_width_and_their_strides(region: str, name: str, size: tuple[int, int]) -> None:
    with shm2.Producer(region, format=name, size=size) as out, shm2.Consumer(region, timeout=SECOND) as frames:
        with out.frame() as f:
            for plane in f.planes:
                np.asarray(plane)[...] = 9
        planes = frames.next().planes
        assert planes[0].shape[:2] == size[::-1]
        assert planes[0].strides[0] % 4 == 0
        assert all((np.asarray(plane) == 9).all() for plane in planes)
        if len(planes) > 1:
            assert planes[1].shape[:2] == ((size[1] + 1) // 2, (size[0] + 1) // 2)


def test_rows_with_padding_are_strided_and_refused_where_bytes_must_be_dense(region: str) -> None:
    with shm2.Producer(region, format="RGB", size=(5, 3)) as out, shm2.Consumer(region, timeout=SECOND) as frames:
        picture = noise((3, 5, 3), "u1")
        out.send(picture)
        frame = frames.next()
        assert frame.array.strides == (16, 3, 1)
        assert len(frame) == 48 and len(bytes(frame)) == 48
        assert memoryview(frame).shape == (48,)
        view = memoryview(frame.planes[0])
        assert (view.shape, view.strides, view.readonly, view.format) == ((3, 5, 3), (16, 3, 1), True, "B")
        assert view.tobytes() == picture.tobytes()
        with pytest.raises(BufferError, match="contiguous"):
            np.frombuffer(memoryview(frame.planes[0]), np.uint8)


def test_nv12_is_stacked_as_opencv_takes_it(region: str) -> None:
    with shm2.Producer(region, format="NV12", size=(8, 4)) as out, shm2.Consumer(region, timeout=SECOND) as frames:
        luma, chroma = noise((4, 8), "u1"), noise((2, 4, 2), "u1")
        out.send([luma, chroma])
        stacked = frames.next().stacked()
        assert stacked.shape == (6, 8) and not stacked.flags.owndata
        np.testing.assert_array_equal(stacked, np.concatenate([luma.ravel(), chroma.ravel()]).reshape(6, 8))
        out.send([luma, chroma])
    with shm2.Producer(region, format="I420", size=(6, 4)) as out, shm2.Consumer(region, timeout=SECOND) as frames:
        planes = [noise((4, 6), "u1"), noise((2, 3), "u1"), noise((2, 3), "u1")]
        out.send(planes)
        stacked = frames.next().stacked()
        np.testing.assert_array_equal(stacked.ravel(), np.concatenate([plane.ravel() for plane in planes]))
    with shm2.Producer(region, format="RGB", size=(6, 4)) as out, shm2.Consumer(region, timeout=SECOND) as frames:
        out.send(noise((4, 6, 3), "u1"))
        with pytest.raises(shm2.MediaError, match="RGB of 6x4 cannot be stacked"):
            frames.next().stacked()


def test_a_picture_is_converted_to_rgb_of_its_own(region: str) -> None:
    with shm2.Producer(region, format="BGRx", size=(3, 2)) as out, shm2.Consumer(region, timeout=SECOND) as frames:
        picture = noise((2, 3, 4), "u1")
        out.send(picture)
        frame = frames.next()
        rgb = frame.to_rgb()
        np.testing.assert_array_equal(rgb, picture[:, :, 2::-1])
        rgb[:] = 0  # a copy
        np.testing.assert_array_equal(frame.array, picture)
    with shm2.Producer(region, format="v210", size=(6, 4)) as out, shm2.Consumer(region, timeout=SECOND) as frames:
        with out.frame():
            pass
        with pytest.raises(shm2.MediaError, match="v210 cannot be converted"):
            frames.next().to_rgb()


def test_a_view_keeps_the_frame_as_long_as_it_exists(region: str) -> None:
    producer = shm2.Producer(region, format="GRAY8", size=(8, 2), arena=4096)
    consumer = shm2.Consumer(region, timeout=SECOND)
    producer.send(np.full((2, 8), 1, np.uint8))
    array = consumer.next().array
    for value in range(200):
        producer.send(np.full((2, 8), value, np.uint8))
    producer.close()
    consumer.close()
    del producer, consumer
    assert (array == 1).all()


def test_further_frames_than_the_budget_are_private_copies(region: str) -> None:
    with shm2.Producer(region, format="GRAY8", size=(8, 2), history=100, max_leases=4) as out:
        for value in range(8):
            out.send(np.full((2, 8), value, np.uint8))
        with shm2.Consumer(region, timeout=SECOND, access="lease", start="oldest") as frames:
            held = [frames.next() for _ in range(8)]
            assert [frame.is_leased for frame in held] == [True] * 4 + [False] * 4
            assert [int(frame.array[0, 0]) for frame in held] == list(range(8))
            assert frames.stats["copied"] == 4
            assert shm2.inspect(region).consumers[0].held == 4
            del held
            out.send(np.zeros((2, 8), np.uint8))
            assert frames.next().is_leased


def test_latest_skips_and_a_slow_reader_counts_what_it_missed(region: str) -> None:
    with shm2.Producer(region, format="GRAY8", size=(64, 64), arena=16384) as out:
        slow = shm2.Consumer(region, timeout=SECOND)
        latest = shm2.Consumer(region, timeout=SECOND, latest=True)
        out.send(np.zeros((64, 64), np.uint8))
        assert slow.next().missed == 0 and latest.next().missed == 0
        for value in range(1, 21):
            out.send(np.full((64, 64), value, np.uint8))
        frame = slow.next()
        assert frame.missed > 0 and frame.discontinuity
        assert int(frame.array[0, 0]) == frame.sequence - 1
        assert int(latest.next().array[0, 0]) >= 19
        slow.close()
        latest.close()


def test_views_of_a_snapshot_are_of_a_private_copy(region: str) -> None:
    with shm2.Producer(region, format="RGB", size=(4, 2), rate=25) as out:
        out.send(noise((2, 4, 3), "u1"))
        frame = shm2.snapshot(region)
        assert not frame.is_leased
        np.testing.assert_array_equal(frame.array, noise((2, 4, 3), "u1"))
        state = shm2.inspect(region)
        assert (state.newest, state.frame_bytes, state.consumers) == (1, 24, [])
        assert state.caps is not None and state.caps["framerate"] == 25
        assert region in [other.path for other in shm2.list()]
        assert region in [other.path for other in shm2.list("/dev/shm")]


def test_dlpack_is_versioned_and_read_only(region: str) -> None:
    with shm2.Producer(region, format="NV12", size=(8, 4)) as out, shm2.Consumer(region, timeout=SECOND) as frames:
        out.send([noise((4, 8), "u1"), noise((2, 4, 2), "u1")])
        frame = frames.next()
        plane = frame.planes[1]
        assert plane.__dlpack_device__() == (1, 0)
        array = np.from_dlpack(plane)
        assert not array.flags.writeable
        np.testing.assert_array_equal(array, noise((2, 4, 2), "u1"))
        with pytest.raises(BufferError, match="version 1"):
            plane.__dlpack__()
        with pytest.raises(BufferError, match="version 1"):
            plane.__dlpack__(max_version=(0, 8))
        with pytest.raises(BufferError, match="CPU"):
            plane.__dlpack__(max_version=(1, 0), dl_device=(2, 0))
        capsule = plane.__dlpack__(max_version=(1, 0))
        del capsule, plane, frame
        for _ in range(100):
            out.send([noise((4, 8), "u1"), noise((2, 4, 2), "u1")])
        np.testing.assert_array_equal(array, noise((2, 4, 2), "u1"))
        with out.frame() as f:
            writable = np.from_dlpack(f.planes[0])
            assert writable.flags.writeable
            writable[...] = 5
            with pytest.raises(shm2.ViewsError):
                f.publish()
            del writable
