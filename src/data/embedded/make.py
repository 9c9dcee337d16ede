#!/usr/bin/env python3
"""Makes the embedded part of Fashion-MNIST from the four official files.

usage: make.py FOLDER

FOLDER holds the official files. The part is written beside this script: the first images of each class, in the order of
the official files. The SHA-256 of each file's unpacked content is printed; README.md lists them. (The packed bytes may
differ between versions of the compressor; the content does not.)
"""

import gzip
import hashlib
import pathlib
import struct
import sys

PARTS = {"train": 300, "t10k": 100}  # images per class
PIXELS = 28 * 28


def main():
    source = pathlib.Path(sys.argv[1])
    here = pathlib.Path(__file__).resolve().parent
    for part, wanted in PARTS.items():
        images = gzip.decompress((source / f"{part}-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((source / f"{part}-labels-idx1-ubyte.gz").read_bytes())
        magic, count, rows, columns = struct.unpack(">IIII", images[:16])
        assert (magic, rows * columns, len(images)) == (0x803, PIXELS, 16 + count * PIXELS)
        assert struct.unpack(">II", labels[:8]) == (0x801, count) and len(labels) == 8 + count
        taken = [0] * 10
        chosen = []
        for index, label in enumerate(labels[8:]):
            if taken[label] < wanted:
                taken[label] += 1
                chosen.append(index)
        assert taken == [wanted] * 10
        write(
            here / f"{part}-images-idx3-ubyte.gz",
            struct.pack(">IIII", 0x803, len(chosen), rows, columns)
            + b"".join(images[16 + i * PIXELS :][:PIXELS] for i in chosen),
        )
        write(
            here / f"{part}-labels-idx1-ubyte.gz",
            struct.pack(">II", 0x801, len(chosen)) + bytes(labels[8 + i] for i in chosen),
        )


def write(path, content):
    # Without file name and time in the header, the bytes are the same whenever the file is made.
    packed = gzip.compress(content, compresslevel=9, mtime=0)
    path.write_bytes(packed)
    print(hashlib.sha256(content).hexdigest(), f"{len(packed):>9}", path.name)


if __name__ == "__main__":
    main()
