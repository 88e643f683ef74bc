"""The test card: flat patches of known colours, and their bytes in the formats of regions."""

import numpy as np

# Red, green, blue, alpha.
PATCHES = [
    (0, 0, 0, 255),
    (255, 255, 255, 255),
    (255, 0, 0, 255),
    (0, 255, 0, 255),
    (0, 0, 255, 255),
    (255, 255, 0, 255),
    (0, 255, 255, 255),
    (255, 0, 255, 255),
    (128, 128, 128, 255),
    (200, 120, 40, 255),
    (30, 90, 160, 128),
    (180, 30, 90, 64),
]
COLUMNS, ROWS = 4, 3
LUMA = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
# Names for full range have no short form in GStreamer.
RANGES = {"1:4:16:4": ("bt601", True), "1:3:5:1": ("bt709", True), "2:4:16:4": ("bt601", False)}
GRAY_ONLY = ("GRAY8",)
WITH_ALPHA = ("RGBA", "BGRA", "A420", "A422", "A444", "VUYA")


def card(width, height, shift=0):
    """The picture as an array of height, width, RGBA."""
    picture = np.zeros((height, width, 4), np.float64)
    for index in range(COLUMNS * ROWS):
        row, column = divmod(index, COLUMNS)
        rows = slice(height * row // ROWS, height * (row + 1) // ROWS)
        columns = slice(width * column // COLUMNS, width * (column + 1) // COLUMNS)
        picture[rows, columns] = PATCHES[(index + shift) % len(PATCHES)]
    return picture


def middles(width, height):
    """The middle of each patch: x, y."""
    cells = (divmod(index, COLUMNS) for index in range(COLUMNS * ROWS))
    return [(width * (2 * c + 1) // (2 * COLUMNS), height * (2 * r + 1) // (2 * ROWS)) for r, c in cells]


def to_yuv(picture, colorimetry, bits=8):
    """Y, U and V as integers of so many bits."""
    name, is_full = RANGES.get(colorimetry, (colorimetry, False))
    red, blue = LUMA[name]
    r, g, b = (picture[..., i] / 255 for i in range(3))
    y = red * r + (1 - red - blue) * g + blue * b
    u, v = (b - y) / (2 * (1 - blue)), (r - y) / (2 * (1 - red))
    scale = 1 << (bits - 8)
    if is_full:
        top = (1 << bits) - 1
        return [np.clip(np.rint(it), 0, top) for it in (y * top, u * top + 128 * scale, v * top + 128 * scale)]
    return [np.rint(it) for it in ((16 + 219 * y) * scale, (128 + 224 * u) * scale, (128 + 224 * v) * scale)]


def halved(plane, vertically):
    """Every second column, and row."""
    return plane[:: 2 if vertically else 1, ::2]


def pack(*parts):
    """Samples side by side, in bytes."""
    stacked = np.stack(parts, axis=-1)
    return stacked.reshape(stacked.shape[0], -1).astype(np.uint8)


def planes_of(picture, kind, colorimetry):
    """The planes of a format, as rows of bytes."""
    r, g, b, a = (picture[..., i] for i in range(4))
    packed = {
        "RGBA": (r, g, b, a),
        "BGRA": (b, g, r, a),
        "BGRx": (b, g, r, 0 * a),
        "RGBx": (r, g, b, 0 * a),
        "BGR": (b, g, r),
    }
    if kind in packed:
        return [pack(*packed[kind])]
    bits = 10 if "_10" in kind else 12 if "_12" in kind else 8
    y, u, v = to_yuv(picture, colorimetry, bits)
    if kind == "GRAY8":
        return [y.astype(np.uint8)]
    if kind == "VUYA":
        return [pack(v, u, y, a)]
    if kind in ("YUY2", "UYVY", "YVYU"):
        first, second, u, v = y[:, ::2], y[:, 1::2], halved(u, False), halved(v, False)
        return [
            pack(*{"YUY2": (first, u, second, v), "UYVY": (u, first, v, second), "YVYU": (first, v, second, u)}[kind])
        ]
    if "444" not in kind:
        vertically = "422" not in kind and kind != "Y42B"
        u, v = halved(u, vertically), halved(v, vertically)
    if kind == "NV12":
        return [y.astype(np.uint8), pack(u, v)]
    if kind == "P010_10LE":
        return [words(y * 64), words(np.stack((u, v), axis=-1).reshape(u.shape[0], -1) * 64)]
    alpha = [np.rint(a * ((1 << bits) - 1) / 255)] if kind.startswith("A4") else []
    convert = words if bits > 8 else lambda it: it.astype(np.uint8)
    return [convert(it) for it in [y, u, v, *alpha]]


def words(plane):
    """16-bit samples as bytes."""
    rows = np.ascontiguousarray(plane.astype("<u2"))
    return rows.view(np.uint8).reshape(plane.shape[0], -1)
