"""A short table of the last figures of the benches that criterion ran: `just bench`, or

    python3 tools/bench_table.py [target/criterion]

Needs Python 3 alone.
"""

import json
import os
import pathlib
import sys


def time(nanoseconds):
    for unit, size in [("s", 1e9), ("ms", 1e6), ("µs", 1e3)]:
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.3g} ns"


def rows(folder):
    for path in sorted(folder.glob("**/new/estimates.json")):
        benchmark = json.loads((path.parent / "benchmark.json").read_text())
        median = json.loads(path.read_text())["median"]
        interval = median["confidence_interval"]
        throughput = benchmark.get("throughput") or {}
        elements = throughput.get("Elements")
        rate = f"{elements / median['point_estimate'] * 1e9:,.0f}" if elements else ""
        low, high = interval["lower_bound"], interval["upper_bound"]
        yield benchmark["full_id"], time(median["point_estimate"]), f"{time(low)} to {time(high)}", rate


def main():
    default = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "criterion"
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    table = list(rows(folder))
    if not table:
        sys.exit(f"{folder} has no figures: run `cargo bench` first, or name criterion's folder")
    print("| bench | median | 95 % interval of the median | elements a second |")
    print("| --- | --- | --- | --- |")
    for row in table:
        print("| " + " | ".join(row) + " |")


main()
