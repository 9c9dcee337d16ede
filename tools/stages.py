"""How a search learned: what its blocks were like in each phase of its schedule of epsilon.

    python3 tools/stages.py RUN...

RUN is the folder of a search by Q-learning. Prints a table in Markdown for each: the mean accuracy with its standard
error over the minibatches, the mean number of layers without Terminal, the best accuracy, and how many of the run's 100
best blocks (by accuracy, and by reward) were first found in the phase. Needs Python 3 alone.
"""

import argparse
import csv
import json
import pathlib
import statistics
import sys

BEST = 100


def phases(run):
    """Epsilon in each phase of the schedule, and the number of minibatches."""
    agent = json.loads((run / "search.json").read_text())["details"]["agent"]
    if "epsilon" not in agent:
        sys.exit(f"error: the agent of {run} has no schedule of epsilon: give a search by Q-learning")
    return [(phase["epsilon"], phase["minibatches"]) for phase in agent["epsilon"]]


def measured(run):
    """The rows of the measured blocks, in the order in which they were proposed."""
    rows = [row for row in csv.DictReader((run / "results.csv").open()) if row["accuracy"]]
    return sorted(rows, key=lambda row: int(row["trial"]))


def first_found(rows, order):
    """The trials in which the best different blocks were found."""
    first = {}
    for row in rows:
        first.setdefault(row["fingerprint"], row)
    best = sorted(first.values(), key=lambda row: (-float(row[order]), int(row["trial"])))[:BEST]
    return {row["trial"] for row in best}


def mean_of(minibatches):
    means = [statistics.mean(float(row["accuracy"]) for row in rows) for rows in minibatches]
    error = f" ± {statistics.stdev(means) / len(means) ** 0.5:.2f}" if len(means) > 1 else ""
    return f"{statistics.mean(means):.2f}{error}"


def print_stages(run):
    schedule, rows = phases(run), measured(run)
    best = [first_found(rows, order) for order in ("accuracy", "reward")]
    print(f"\n{run.name}\n")
    print("| epsilon | minibatches | different blocks | mean accuracy, % | layers | best, % | of the 100 most accurate |"
          " of the 100 highest rewards |")
    print("| --- |" + " --- |" * 7)
    begin = 0
    for epsilon, count in schedule:
        minibatches = [[row for row in rows if int(row["minibatch"]) == number] for number in range(begin, begin + count)]
        minibatches = [rows for rows in minibatches if rows]
        begin += count
        if not minibatches:
            continue
        of_phase = [row for rows in minibatches for row in rows]
        cells = [
            epsilon,
            len(minibatches),
            len({row["fingerprint"] for row in of_phase}),
            mean_of(minibatches),
            f"{statistics.mean(int(row['nodes']) - 2 for row in of_phase):.1f}",
            f"{max(float(row['accuracy']) for row in of_phase):.1f}",
            *(sum(row["trial"] in found for row in of_phase) for found in best),
        ]
        print("| " + " | ".join(map(str, cells)) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=pathlib.Path, metavar="RUN")
    for run in parser.parse_args().runs:
        print_stages(run)


if __name__ == "__main__":
    main()
