"""Compares event files with the CSV of the same run: events.py FOLDER, which has run/tensorboard and csv/."""

import csv
import pathlib
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

COLUMNS = {
    "trials": {
        "trial/accuracy": "accuracy_percent",
        "trial/reward": "reward",
        "trial/parameters": "parameters",
        "trial/flops": "flops",
    },
    "minibatches": {
        "minibatch/mean_accuracy": "mean_accuracy_percent",
        "minibatch/best_accuracy": "best_accuracy_percent",
        "minibatch/infeasible": "infeasible",
    },
}


def single(number):
    """The number in single precision."""
    return struct.unpack("f", struct.pack("f", float(number)))[0]


def main(folder):
    events = EventAccumulator(str(folder / "run/tensorboard"), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    tags = events.Tags()
    assert tags["images"] == ["block/best"], tags
    for image in events.Images("block/best"):
        assert image.encoded_image_string.startswith(b"\x89PNG") and image.width > 100 and image.height > 100
    for (table, columns), step in zip(COLUMNS.items(), ["trial", "minibatch"]):
        with open(folder / f"csv/{table}.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for tag, column in columns.items():
            found = [(event.step, event.value) for event in events.Scalars(tag)]
            wanted = [(int(row[step]), single(row[column])) for row in rows if row[column]]
            assert found == wanted, (tag, found[:5], wanted[:5])
        print(f"{len(rows)} {table} agree")


main(pathlib.Path(sys.argv[1]))
