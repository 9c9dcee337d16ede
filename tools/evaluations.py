"""How many evaluations searches need for blocks as accurate, in the mean, as those of the paper's search.

    python3 tools/evaluations.py PAPER RUN...

PAPER is the folder of a search by Q-learning, and each RUN that of another search of the same blocks, measured in the
same way. Prints a table in Markdown: the mean accuracy in each phase of PAPER's epsilon, and how many blocks each RUN
had evaluated when the mean of its last 64 was first as high. Needs Python 3 alone.
"""

import argparse
import pathlib
import statistics

import stages

WINDOW = 64


def levels(paper):
    """Epsilon of each phase, the blocks evaluated when it ends, and the mean accuracy in it."""
    rows, begin, blocks = stages.measured(paper), 0, 0
    for epsilon, count in stages.phases(paper):
        phase = [float(row["accuracy"]) for row in rows if begin <= int(row["minibatch"]) < begin + count]
        begin, blocks = begin + count, blocks + len(phase)
        if phase:
            yield epsilon, blocks, statistics.mean(phase)


def evaluations_until(accuracies, level):
    """The number of blocks after which the mean of the last ones first reaches the level."""
    for end in range(WINDOW, len(accuracies) + 1):
        if statistics.mean(accuracies[end - WINDOW : end]) >= level:
            return end
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paper", type=pathlib.Path)
    parser.add_argument("runs", nargs="+", type=pathlib.Path, metavar="RUN")
    given = parser.parse_args()
    runs = {run.name: [float(row["accuracy"]) for row in stages.measured(run)] for run in given.runs}
    print(f"| epsilon | until block | mean accuracy, % | {' | '.join(runs)} |\n| --- |" + " --- |" * (2 + len(runs)))
    for epsilon, blocks, level in levels(given.paper):
        until = [evaluations_until(accuracies, level) for accuracies in runs.values()]
        cells = [f"> {len(accuracies)}" if end is None else end for accuracies, end in zip(runs.values(), until)]
        print("| " + " | ".join(map(str, [epsilon, blocks, f"{level:.2f}", *cells])) + " |")


if __name__ == "__main__":
    main()
