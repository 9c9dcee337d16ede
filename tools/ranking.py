"""Which cheap training ranks blocks as a long one does: Kendall's tau, and what each costs.

    python3 tools/ranking.py BLOCKQNN OUT --blocks 64 --common "--max-layers 23" --truth "--epochs 36" \
        --cheap "--epochs 1" "--epochs 3" "--epochs 2 --train-limit 2000"

BLOCKQNN is the program. Draws random blocks, trains each of them with the options of the truth and with those of every
cheap training, and compares the accuracies. The truth begins from other weights than the cheap trainings and is measured
on other validation images, so that it shares no noise with them. Errors are standard deviations over resampled blocks.
Repeat the command to continue, or with other trainings. Needs Python 3 alone.
"""

import argparse
import csv
import pathlib
import random
import shlex
import statistics
import subprocess

RESAMPLES = 200


def run(program, folder, options):
    """Runs a search, or continues it, and returns the accuracy of each block and the mean seconds of a training."""
    begun = (folder / "search.json").exists()
    begin = ["--out", folder, "--resume"] if begun else ["--out", folder, "--agent", "random", *options]
    command = [str(word) for word in [program, "search", "--workers", 1, *begin]]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    rows = list(csv.DictReader((folder / "results.csv").open()))
    seconds = [float(row["seconds"]) for row in rows if row["seconds"]]
    return {row["architecture"]: float(row["accuracy"] or 0) for row in rows}, statistics.mean(seconds)


def sign(number):
    return (number > 0) - (number < 0)


def kendall(pairs):
    """Kendall's tau-b."""
    agreement, ties = 0, [0, 0]
    for place, (x, y) in enumerate(pairs):
        for other_x, other_y in pairs[:place]:
            agreement += sign(x - other_x) * sign(y - other_y)
            ties[0] += x == other_x
            ties[1] += y == other_y
    all_pairs = len(pairs) * (len(pairs) - 1) / 2
    scale = ((all_pairs - ties[0]) * (all_pairs - ties[1])) ** 0.5
    return agreement / scale if scale else float("nan")


def kendall_error(pairs):
    rng = random.Random(0)
    return statistics.stdev(kendall(rng.choices(pairs, k=len(pairs))) for _ in range(RESAMPLES))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--blocks", type=int, default=64)
    parser.add_argument("--common", default="", help="options of every search, such as those of the space")
    parser.add_argument("--truth", required=True, help="options of the long training")
    parser.add_argument("--cheap", nargs="+", required=True, help="options of each cheap training")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    common = [*shlex.split(given.common), "--trials", given.blocks]
    same = given.out / "common"
    if same.exists() and same.read_text() != str(common):
        raise SystemExit(f"{given.out} has trainings of other blocks, {same.read_text()}: give another folder")
    same.write_text(str(common))
    # A search that trains hardly anything draws the blocks.
    drawn, blocks = given.out / "drawn", given.out / "blocks"
    if not blocks.exists():
        accuracies, _ = run(given.program, drawn, [*common, "--seed", 0, "--epochs", 1, "--train-limit", 20])
        blocks.write_text("".join(f"{block}\n" for block in accuracies))

    def trained(kind, options, seeds):
        folder = given.out / (kind + options.replace(" ", "_").replace("/", "_"))
        return run(given.program, folder, [*common, "--first", blocks, *seeds, *shlex.split(options)])

    truth, seconds = trained("truth", given.truth, ["--seed", 1, "--set", "data.seed=1"])
    print("| training | seconds per block | Kendall's tau | mean accuracy, % |\n| --- | --- | --- | --- |")
    print(f"| truth: {given.truth} | {seconds:.2f} | | {statistics.mean(truth.values()):.1f} |", flush=True)
    for options in given.cheap:
        cheap, seconds = trained("cheap", options, ["--seed", 2])
        pairs = [(accuracy, truth[block]) for block, accuracy in cheap.items()]
        tau = f"{kendall(pairs):.2f} ± {kendall_error(pairs):.2f}"
        print(f"| {options} | {seconds:.2f} | {tau} | {statistics.mean(cheap.values()):.1f} |", flush=True)


if __name__ == "__main__":
    main()
