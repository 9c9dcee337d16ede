"""Writes three grayscale PNG files of other sizes than the network takes into a folder: `png.py FOLDER`. Needs nothing."""

import pathlib
import struct
import sys
import zlib


def png(width, height):
    """A diagonal from black to white."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(bytes([0] + [(x + y) * 255 // (width + height) for x in range(width)]) for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


for name, size in {"square": (28, 28), "wide": (90, 40), "tall": (20, 60)}.items():
    (pathlib.Path(sys.argv[1]) / f"{name}.png").write_bytes(png(*size))
