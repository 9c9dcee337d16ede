"""Blocks that were found against blocks made by hand, at equal cost on real pictures.

    python3 tools/made_by_hand.py BLOCKQNN OUT --data CIFAR10

BLOCKQNN is the program, and CIFAR10 the folder with the binary files of CIFAR-10. Searches with every agent below and
every seed on a part of the training images, and trains the three best blocks of each search on more of them. The one
that is best on the validation images enters a contest with hand-made blocks and with the median block of each random
search: `blockqnn contest`, where all networks need the same multiply-adds, are trained by one recipe on all training
images, and are measured on the test images once, at the end. Prints its table, and the means by the way in which a block
came about. Repeat the command to continue after an interruption. Needs Python 3 alone.
"""

import argparse
import csv
import pathlib
import re
import statistics
import subprocess
import sys

BY_HAND = [
    "resnet-basic", "resnet-bottleneck", "resnext", "inception", "dense", "mobilenet-v2", "nasnet-a", "darts-v2",
    "conv3(0) terminal(1)",
]
# The proportions of Table 2, in the minibatches of these searches.
EPSILON = [(1.0, 34), (0.9, 3), (0.8, 3), (0.7, 3), (0.6, 3), (0.5, 3), (0.4, 3), (0.3, 3), (0.2, 4), (0.1, 4)]
MINIBATCH = 8
SEARCHES = {
    "paper": ["--agent", "paper", "--set", "agent.epsilon=" + str([
        {"epsilon": epsilon, "minibatches": minibatches} for epsilon, minibatches in EPSILON
    ]).replace("'", '"')],
    "best": ["--agent", "best"],
    "best-modern": ["--agent", "best", "--set", "space.layers=modern"],
    "random": ["--agent", "random"],
}
TRIALS = MINIBATCH * sum(minibatches for _, minibatches in EPSILON)
CANDIDATES = 3


class Experiment:
    def __init__(self, program, out, data):
        self.program, self.out = program, out
        # Only some of the five training files may be there.
        self.pictures = ["--data", data, "--set", "data.missing_files=allow"]

    def call(self, *arguments, check=True):
        command = [str(argument) for argument in [self.program, *arguments]]
        print(" ".join(command), file=sys.stderr, flush=True)
        return subprocess.run(command, check=check, stdout=subprocess.PIPE, text=True).stdout

    def search(self, name, seed):
        run = self.out / f"{name}-{seed}"
        options = ["--preset", "evening", *self.pictures, "--minibatch", MINIBATCH, "--trials", TRIALS]
        begin = ["--resume"] if (run / "search.json").exists() else [*options, *SEARCHES[name], "--seed", seed]
        # One that is finished ends at once.
        self.call("search", "--out", run, *begin)
        return run

    def entrant(self, run, epochs, images):
        """The candidate that is best on the validation images after a longer training, as `contest` calls it."""
        self.call("verify", run, "--top", CANDIDATES, "--recipe", "cifar", "--epochs", epochs, "--train-limit", images)
        rows = csv.DictReader((run / "verification" / "verification.csv").open())
        best = min(rows, key=lambda row: int(row["rank"]))
        return f"{run}#{best['early_rank']}"

    def contest(self, entrants, least_flops, epochs, repetitions):
        # The network of the searches.
        images = ["--dataset", "cifar10", *self.pictures, "--set", "search.network.stem.pools=2"]
        training = ["--recipe", "cifar", "--epochs", epochs, "--repetitions", repetitions, "--workers", 2]
        # Widths are whole numbers, so that not every cost can be had.
        costs = [round(least_flops * 1.05**step) for step in range(30)]
        dry = [str(word) for word in [self.program, "contest", *entrants, *images, "--dry-run", "--flops"]]
        is_possible = lambda cost: subprocess.run([*dry, str(cost)], capture_output=True).returncode == 0
        flops = next(filter(is_possible, costs), None)
        if flops is None:
            raise SystemExit(f"no cost from {costs[0]} to {costs[-1]} multiply-adds can be had by all blocks")
        out = self.out / "contest"
        # Its status is 1 if a block has no result.
        options = ["--flops", flops, *images, *training, "--latency", "--out", out]
        print(self.call("contest", *entrants, *options, check=False))
        if not (out / "contest.csv").exists():
            raise SystemExit("the contest did not begin: see the error above")
        return list(csv.DictReader((out / "contest.csv").open()))


def origin(name):
    """What a contest's entrant has in common with those of other seeds."""
    if found := re.match(r".*/([a-z-]+)-\d+#(median|\d+)(:|$)", name):
        return "median of random" if found[2] == "median" else f"found: {found[1]}"
    return "made by hand"


def print_means(rows):
    """Prints the mean accuracy by origin, with the standard error over the blocks."""
    print("| blocks | number | test accuracy, % |\n| --- | --- | --- |")
    groups = {}
    for row in rows:
        if row["accuracy"]:
            groups.setdefault(origin(row["name"]), []).append(float(row["accuracy"]))
    for name, accuracies in sorted(groups.items(), key=lambda group: -statistics.mean(group[1])):
        error = statistics.stdev(accuracies) / len(accuracies) ** 0.5 if len(accuracies) > 1 else float("nan")
        print(f"| {name} | {len(accuracies)} | {statistics.mean(accuracies):.2f} ± {error:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--verify-epochs", type=int, default=10)
    parser.add_argument("--verify-images", type=int, default=5_000)
    parser.add_argument("--flops", type=int, default=6_000_000, help="the least that may be chosen for all networks")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--repetitions", type=int, default=3)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    experiment = Experiment(given.program, given.out, given.data)
    runs = {(name, seed): experiment.search(name, seed) for seed in given.seeds for name in SEARCHES}
    found = [experiment.entrant(run, given.verify_epochs, given.verify_images) for run in runs.values()]
    medians = [f"{runs['random', seed]}#median" for seed in given.seeds]
    print_means(experiment.contest([*found, *medians, *BY_HAND], given.flops, given.epochs, given.repetitions))


if __name__ == "__main__":
    main()
