"""Arrays of frames: records with a dtype, and stacked planes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _errors

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from ._shm2 import Frame, Plane

RECORDS = "application/x-shm2-struct"
#: Codes of plain data: no objects, so that nothing in a region is executed.
_PLAIN = re.compile(r"[<>|=]?[?bBiufcmMSUV]\d*(\[[a-zA-Z0-9]+\])?")
_MOST_DIMENSIONS = 32


def records_caps(dtype: DTypeLike, shape: tuple[int, ...] | None) -> tuple[str, np.dtype[Any]]:
    """Return the caps of records of a dtype, with the dtype that a reader gets."""
    wanted = np.dtype(dtype)
    if wanted.hasobject:
        raise _errors.DtypeError(f"dtype {wanted} has Python objects: only plain data can be shared")
    if wanted.itemsize == 0:
        raise _errors.DtypeError(f"dtype {wanted} has no bytes")
    if wanted.subdtype is not None:
        raise _errors.DtypeError(f"dtype {wanted} is an array: give its shape as shape=")
    text = json.dumps(_described(wanted), separators=(",", ":"))
    caps = f"{RECORDS}, dtype=(string){_quoted(text)}"
    if shape is not None:
        caps += f", shape=(string){_quoted(','.join(str(int(length)) for length in shape))}"
    return caps, _dtype(text)


def records(plane: Plane, dtype: str | None, shape: str | None) -> NDArray[Any]:
    """Return the records of a frame, with the dtype and shape of its caps."""
    if dtype is None:
        raise _errors.MediaError(f"the caps {RECORDS} have no field dtype: use bytes(frame)")
    kind = _dtype(dtype)
    flat = np.asarray(plane)
    if flat.size % kind.itemsize:
        raise _errors.MediaError(
            f"a frame of {flat.size} bytes has no whole number of records of {kind.itemsize} bytes"
        )
    array = flat.view(kind)
    if shape is None:
        return array
    try:
        lengths = [int(length) for length in shape.split(",") if length][:_MOST_DIMENSIONS]
        if any(length < -1 for length in lengths):
            raise ValueError(shape)
        return array.reshape(lengths)
    except (ValueError, ArithmeticError) as error:
        raise _errors.MediaError(f"a frame of {array.size} records has not the shape ({shape}) of its caps") from error


def stacked(frame: Frame) -> NDArray[Any]:
    """Return the planes of a 4:2:0 picture below each other, as OpenCV takes them."""
    planes = frame.planes
    arrays = [np.asarray(plane) for plane in planes]
    if frame.size is None or arrays[0].ndim < 2:
        raise _errors.MediaError(f"{frame.format or frame.media_type} is no picture that can be stacked: use planes")
    height, width = arrays[0].shape[:2]
    rows = sum(array.size for array in arrays) / max(width, 1)
    is_known = len(arrays) in (2, 3) and {plane.itemsize for plane in planes} == {1} and 2 * rows == 3 * height
    if not is_known or width % 2 or height % 2:
        raise _errors.MediaError(
            f"{frame.format} of {width}x{height} cannot be stacked: it is for NV12, NV21, I420 and YV12 of an even size"
        )
    shape = (height * 3 // 2, width)
    start, end = planes[0].offset, 0
    is_dense = True
    for plane, array in zip(planes, arrays, strict=True):
        is_dense &= bool(array.flags.c_contiguous) and plane.offset == start + end
        end = plane.offset - start + array.nbytes
    if is_dense:
        flat = np.asarray(memoryview(frame))
        return flat[start : start + end].reshape(shape)
    stride = planes[0].strides[0]
    if len(planes) == 2 and planes[1].strides[0] == stride and planes[1].offset == start + stride * height:
        flat = np.asarray(memoryview(frame))[start:]
        return np.lib.stride_tricks.as_strided(flat, shape, (stride, 1), writeable=False)
    return np.concatenate([array.reshape(-1) for array in arrays]).reshape(shape)


def _dtype(text: str) -> np.dtype[Any]:
    """Return the dtype of the text in caps, which another program wrote: plain data only."""
    try:
        kind: np.dtype[Any] = np.dtype(_plain(json.loads(text)))
    except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError) as error:
        raise _errors.MediaError(f"the caps have a dtype that is not plain data: {text!r}") from error
    if kind.hasobject or kind.itemsize == 0 or kind.subdtype is not None:
        raise _errors.MediaError(f"the caps have a dtype that is not plain data: {text!r}")
    return kind


def _described(kind: np.dtype[Any]) -> Any:
    """Return a dtype as JSON: a code such as "<f8", its fields with their offsets, or an array of one of both."""
    if kind.subdtype is not None:
        base, shape = kind.subdtype
        return [_described(base), list(shape)]
    if kind.names is None or kind.fields is None:
        return kind.str
    fields = [kind.fields[name] for name in kind.names]
    return {
        "names": list(kind.names),
        "formats": [_described(field[0]) for field in fields],
        "offsets": [field[1] for field in fields],
        "itemsize": kind.itemsize,
    }


def _plain(value: Any) -> Any:
    """Return a dtype's description as NumPy takes it, after a check of all codes."""
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    if isinstance(value, list):
        base, shape = value
        return (_plain(base), tuple(int(length) for length in shape))
    if isinstance(value, dict):
        return {
            "names": [str(name) for name in value["names"]],
            "formats": [_plain(kind) for kind in value["formats"]],
            "offsets": [int(offset) for offset in value["offsets"]],
            "itemsize": int(value["itemsize"]),
        }
    raise ValueError(value)


def _quoted(text: str) -> str:
    """Return a string of caps with its escapes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
