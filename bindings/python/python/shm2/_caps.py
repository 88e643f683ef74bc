"""Caps: the description of a stream."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any


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
    width, height = size
    return (
        f"video/x-raw, format=(string){format}, width=(int){int(width)}, height=(int){int(height)}, "
        f"framerate=(fraction){_rate(rate)}, interlace-mode=(string)progressive, pixel-aspect-ratio=(fraction)1/1"
    )


def audio(format: str, rate: int, channels: int) -> str:
    """Return the caps of raw interleaved audio, as GStreamer writes them."""
    text = (
        f"audio/x-raw, format=(string){format}, layout=(string)interleaved, rate=(int){int(rate)}, "
        f"channels=(int){int(channels)}"
    )
    if channels == 1:
        return text
    # Channels above two have no positions: the names of loudspeakers are not known here.
    mask = 3 if channels == 2 else 0
    return f"{text}, channel-mask=(bitmask)0x{mask:016x}"


def _rate(rate: object) -> str:
    """Return frames per second as a fraction: 29.97 is 30000/1001."""
    if rate is None:
        return "0/1"
    if isinstance(rate, tuple):
        fraction = Fraction(*rate)
    elif isinstance(rate, float):
        near = Fraction(round(rate * 1001 / 1000) * 1000, 1001)
        fraction = near if rate != round(rate) and abs(near - rate) < 0.005 else Fraction(rate).limit_denominator(1001)
    elif isinstance(rate, int | str | Fraction):
        fraction = Fraction(rate)
    else:
        raise TypeError(f"rate={rate!r} is no number of frames per second: give 30, 29.97, (30000, 1001) or a Fraction")
    return f"{fraction.numerator}/{fraction.denominator}"
