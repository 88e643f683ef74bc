"""Caps: the description of a stream."""

import difflib
import operator
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from . import _shm2
from ._errors import ArgumentError


class Caps(Mapping[str, Any]):
    """The description of a stream in the form of GStreamer: a media type and fields.

    A mapping of the fields: integers and bit masks are ``int``, fractions ``fractions.Fraction``, text ``str``.
    ``str()`` of it is the text as the producer set it.
    """

    __slots__ = ("_fields", "_text", "features", "media_type")

    def __init__(self, text: str, media_type: str, features: tuple[str, ...], fields: dict[str, Any]) -> None:
        self._text = text
        self._fields = fields
        #: The media type, such as ``"video/x-raw"``; empty for text that is no caps.
        self.media_type = media_type
        #: The features behind the media type, such as ``"memory:SystemMemory"``.
        self.features = features

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"<shm2.Caps {self._text!r}>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Caps):
            return self._text == other._text
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._text)


def video(format: str, size: tuple[int, int], rate: object = None) -> str:
    """Return the caps of raw video, as GStreamer writes them."""
    if not isinstance(size, tuple | list) or len(size) != 2:
        raise ArgumentError(f"size={size!r} is not two numbers: give size=(width, height)")
    width, height = (_whole(f"size={size!r}", length, "width and height") for length in size)
    _known("video", format)
    return (
        f"video/x-raw, format=(string){format}, width=(int){width}, height=(int){height}, "
        f"framerate=(fraction){_rate(rate)}, interlace-mode=(string)progressive, pixel-aspect-ratio=(fraction)1/1"
    )


def audio(format: str, rate: object, channels: int) -> str:
    """Return the caps of raw interleaved audio, as GStreamer writes them."""
    samples = _whole(f"rate={rate!r}", rate, "samples per second")
    channels = _whole(f"channels={channels!r}", channels, "channels")
    _known("audio", format)
    text = (
        f"audio/x-raw, format=(string){format}, layout=(string)interleaved, rate=(int){samples}, "
        f"channels=(int){channels}"
    )
    if channels == 1:
        return text
    # Channels above two have no positions: the names of loudspeakers are not known here.
    mask = 3 if channels == 2 else 0
    return f"{text}, channel-mask=(bitmask)0x{mask:016x}"


def _whole(given: str, value: object, what: str) -> int:
    """Return a whole number above 0; a float without a fraction is one."""
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    try:
        number = operator.index(number)  # type: ignore[arg-type]
    except TypeError:
        raise ArgumentError(f"{given} is wrong: {what} are whole numbers") from None
    if not 0 < number < 1 << 31:
        raise ArgumentError(f"{given} is wrong: {what} are whole numbers from 1 to 2147483647")
    return number


def _known(kind: str, format: str) -> None:
    """Refuse a format that does not exist, with the name of a similar one."""
    names = _shm2.formats(kind)
    if format in names or not isinstance(format, str):
        return
    other, needed = ("audio", "rate=48000, channels=2") if kind == "video" else ("video", "size=(width, height)")
    if format in _shm2.formats(other):
        raise ArgumentError(f"format={format!r} is a format of raw {other}: it needs {needed}")
    similar = {name.upper(): name for name in names}
    found = difflib.get_close_matches(format.upper(), list(similar), 1)
    known = "NV12, BGR or GRAY8" if kind == "video" else "S16LE or F32LE"
    question = f": did you mean {similar[found[0]]}?" if found else f", such as {known}"
    raise ArgumentError(f"format={format!r} is no format of raw {kind}{question}")


def _rate(rate: object) -> str:
    """Return frames per second as a fraction: 29.97 is 30000/1001."""
    if rate is None:
        return "0/1"
    try:
        fraction = _fraction(rate)
    except (TypeError, ValueError, ArithmeticError):
        fraction = Fraction(-1)
    if fraction < 0 or max(fraction.numerator, fraction.denominator) >= 1 << 31:
        raise ArgumentError(
            f"rate={rate!r} is no number of frames per second: give 30, 29.97, (30000, 1001) or a Fraction"
        )
    return f"{fraction.numerator}/{fraction.denominator}"


def _fraction(rate: object) -> Fraction:
    if isinstance(rate, tuple):
        fraction = Fraction(*rate)
    elif isinstance(rate, float):
        near = Fraction(round(rate * 1001 / 1000) * 1000, 1001)
        fraction = near if rate != round(rate) and abs(near - rate) < 0.005 else Fraction(rate).limit_denominator(1001)
    elif isinstance(rate, int | str | Fraction):
        fraction = Fraction(rate)
    else:
        raise TypeError(rate)
    return fraction
