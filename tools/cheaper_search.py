"""What rungs and priors save: searches with really trained blocks, read at several budgets of epochs.

    python3 tools/cheaper_search.py BLOCKQNN OUT --task default --seeds 0 1 2 3 4 --budgets 100 300 900 2700
    python3 tools/cheaper_search.py BLOCKQNN OUT --task paper --seeds 0 1 2 --budgets 100 300 900

BLOCKQNN is the program. Every method searches once for each seed, until the largest budget is used. At each budget its
choice is the block of the highest rung with the highest reward; every choice is then trained for --long epochs with
other weights and measured on the test images. Prints two tables in Markdown: test accuracy and processor seconds at each
budget, and the multiply-adds of the last choice's network; and how many times fewer epochs and seconds the first method
needs than each of the others, for what the other has at its end. Repeat the command to continue after it was stopped, or with more seeds or budgets. Needs Python 3 alone.
"""

import argparse
import collections
import csv
import itertools
import pathlib
import random
import resource
import statistics
import subprocess

TASKS = {"default": [], "paper": ["--max-layers", "23"]}
METHODS = {
    "best-with-priors, rungs": ["--agent", "best-with-priors", "--rungs", "3"],
    "best, rungs": ["--agent", "best", "--rungs", "3"],
    "best-with-priors": ["--agent", "best-with-priors"],
    "best": ["--agent", "best"],
    "evolution": ["--agent", "evolution"],
    "random": ["--agent", "random"],
}
EPOCHS = 9
# Accuracy of guessing, in percent.
CHANCE = 10.0
RESAMPLES = 1_000
Choice = collections.namedtuple("Choice", "block fingerprint flops seconds")


def call(*command):
    """Runs a command and returns its seconds of processor time and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def search(program, run, options, budget):
    """Begins a search, or continues it up to the budget. The processor time of each call is kept beside it."""
    clock = run.with_suffix(".seconds")
    spent = [line.split() for line in clock.read_text().splitlines()] if clock.exists() else []
    if any(int(reached) >= budget for reached, _ in spent):
        return
    begun = (run / "search.json").exists()
    begin = ["--out", run, "--resume"] if begun else ["--out", run, "--epochs", EPOCHS, *options]
    seconds, _ = call(program, "search", "--workers", 1, *begin, "--total-epochs", budget)
    with clock.open("a") as file:
        file.write(f"{budget} {seconds:.1f}\n")


def trials(run):
    """The trials in the order in which they were proposed."""
    rows = [row for row in csv.DictReader((run / "results.csv").open()) if row["accuracy"]]
    return sorted(rows, key=lambda row: int(row["trial"]))


def added(rows):
    """The epochs that each trial adds to those of the same block at the rung below, where it was measured before."""
    of_rung = {int(row["rung"]): int(row["epochs"]) for row in rows if row.get("rung")}
    cached = [row["cached"] == "true" for row in rows]
    below = [of_rung.get(int(row.get("rung") or 0) - 1, 0) for row in rows]
    return [0 if known else int(row["epochs"]) - epochs for row, known, epochs in zip(rows, cached, below)]


def processor_seconds(run, rows, costs):
    """The processor seconds of each trial. That of calls that were interrupted is missing.

    The machine may do other things meanwhile, so the processor time of a call is divided among its trials in proportion
    to their seconds.
    """
    calls = [line.split() for line in run.with_suffix(".seconds").read_text().splitlines()]
    calls = [(int(reached), float(seconds)) for reached, seconds in calls]
    spent = list(itertools.accumulate(costs))
    of_call = [next((call for call, (reached, _) in enumerate(calls) if epochs <= reached), -1) for epochs in spent]
    taken = [float(row["seconds"]) if epochs else 0.0 for row, epochs in zip(rows, costs)]
    whole = collections.Counter()
    for call, seconds in zip(of_call, taken):
        whole[call] += seconds
    return [calls[call][1] * seconds / whole[call] if seconds else 0.0 for call, seconds in zip(of_call, taken)]


def choice(run, budget):
    """The block of the highest rung with the highest reward within a budget, and the processor seconds until then."""
    spent, processor, best = 0, 0.0, None
    rows = trials(run)
    costs = added(rows)
    for row, epochs, seconds in zip(rows, costs, processor_seconds(run, rows, costs)):
        spent += epochs
        if spent > budget:
            break
        processor += seconds
        order = (int(row.get("rung") or 0), float(row["reward"]))
        if best is None or order > best[0]:
            best = (order, row)
    if best is None:
        raise SystemExit(f"no block of {run} was measured within {budget} epochs: give a larger budget")
    row = best[1]
    return Choice(row["architecture"], row["fingerprint"], int(row["flops"]), processor)


def train_long(program, names, options, long, seed):
    """The accuracy in percent on the test images of each block of a file after a long training, by fingerprint."""
    folder, table = names.with_suffix(""), names.with_suffix(".table")
    blocks = names.read_text().splitlines()
    if not table.exists():
        first = ["--first", names, "--agent", "random", "--epochs", 1, "--trials", len(blocks), "--seed", seed]
        begin = ["--resume"] if (folder / "search.json").exists() else [*options, *first]
        call(program, "search", "--workers", 1, "--out", folder, *begin)
        verify = ["--top", len(blocks), "--recipe", "cifar", "--epochs", long, "--test"]
        _, printed = call(program, "verify", folder, *verify)
        table.write_text(printed)
    # rank, converged, test, early stop, early rank, reward, parameters, block
    rows = [line.replace(" %", "").split(None, 7) for line in table.read_text().splitlines()]
    tests = {row[7]: row[2] for row in rows if len(row) == 8 and row[0].isdigit()}
    trained = csv.DictReader((folder / "results.csv").open())
    measured = {row["fingerprint"]: tests.get(row["architecture"], "-") for row in trained}
    # A network that diverged classifies as one that guesses.
    return {fingerprint: CHANCE if test == "-" else float(test) for fingerprint, test in measured.items()}


def long_trainings(program, out, blocks, options, long, seed):
    """The accuracy in percent on the test images of each block after a long training, those trained before included.

    `blocks` are the blocks by fingerprint, and so are the accuracies: one block can be written in several ways.
    """
    prefix = f"long-{long}-{seed}"
    known = {}
    batches = sorted(out.glob(f"{prefix}-*.blocks"))
    for names in batches:
        known |= train_long(program, names, options, long, seed)
    if missing := sorted(blocks[fingerprint] for fingerprint in blocks.keys() - known.keys()):
        names = out / f"{prefix}-{len(batches):03}.blocks"
        names.write_text("".join(f"{block}\n" for block in missing))
        known |= train_long(program, names, options, long, seed)
    return known


def mean(values):
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):.2f} ± {error:.2f}"


def rising(values):
    """The rising sequence that is closest to the values (isotonic regression)."""
    pools = []
    for value in values:
        pools.append([value])
        while len(pools) > 1 and statistics.mean(pools[-2]) > statistics.mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    return [statistics.mean(pool) for pool in pools for _ in pool]


def reached(costs, qualities, target):
    """The cost at which the qualities reach the target, between two budgets in proportion to the logarithm.

    With it the sign of what is known: "" if that is the cost, "≤" if even less may do, ">" if more is needed.
    """
    if qualities[-1] < target:
        return costs[-1], ">"
    place = next(place for place, quality in enumerate(qualities) if quality >= target)
    if place == 0:
        return costs[0], "≤"
    share = (target - qualities[place - 1]) / (qualities[place] - qualities[place - 1])
    return costs[place - 1] * (costs[place] / costs[place - 1]) ** share, ""


def saved(method, other, budgets):
    """How many times fewer epochs, and seconds, a method needs for the quality that the other has at its end.

    Both are lists with one entry for each seed: the pairs of quality and seconds at each budget. Returns the factors of
    each of many resamples of the seeds, with the sign of what is known.
    """
    rng = random.Random(0)
    factors = []
    for _ in range(RESAMPLES):
        curves = []
        for seeds in (method, other):
            at_budgets = list(zip(*rng.choices(seeds, k=len(seeds))))
            qualities = rising([statistics.mean(quality for quality, _ in pairs) for pairs in at_budgets])
            curves.append((qualities, [statistics.mean(seconds for _, seconds in pairs) for pairs in at_budgets]))
        (qualities, seconds), (others, other_seconds) = curves
        target = others[-1]
        first = others.index(target)
        pair = []
        for costs, others_cost in [(budgets, budgets[first]), (seconds, other_seconds[first])]:
            cost, sign = reached(costs, qualities, target)
            pair.append((others_cost / cost, {"": "", "≤": "≥ ", ">": "< "}[sign]))
        factors.append(pair)
    return zip(*factors)


def middle(factors):
    """The median, and the range of 68 % of the resamples."""
    ordered = sorted(factors)
    low, median, high = (ordered[round(share * (len(ordered) - 1))] for share in (0.16, 0.5, 0.84))
    low, median, high = (f"{sign}{factor:.1f}" for factor, sign in (low, median, high))
    return f"{median} ({low} to {high})"


def print_accuracies(methods, seeds, budgets, measured):
    """`measured` has the quality, the seconds and the multiply-adds of each method, seed and budget."""
    titles = " | ".join(f"{budget} epochs | seconds" for budget in budgets)
    print(f"| method | {titles} | 1e6 multiply-adds |")
    print("| --- |" + " --- | --- |" * len(budgets) + " --- |")
    for method in methods:
        cells = []
        for budget in budgets:
            qualities, seconds, flops = zip(*(measured[method, seed, budget] for seed in seeds))
            cells += [mean(qualities), f"{statistics.mean(seconds):.0f}"]
        print(f"| {method} | " + " | ".join(cells) + f" | {mean([count / 1e6 for count in flops])} |")


def print_factors(methods, seeds, budgets, measured):
    curves = [[[measured[method, seed, budget][:2] for budget in budgets] for seed in seeds] for method in methods]
    print(f"\n| {methods[0]}, compared with | times fewer epochs | times fewer seconds |\n| --- | --- | --- |")
    for method, curve in zip(methods[1:], curves[1:]):
        epochs, seconds = saved(curves[0], curve, budgets)
        print(f"| {method} | {middle(epochs)} | {middle(seconds)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--task", choices=TASKS, default="default")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--budgets", nargs="+", type=int, default=[300, 900])
    parser.add_argument("--long", type=int, default=40, help="epochs of the long trainings")
    parser.add_argument("--long-seeds", nargs="+", type=int, default=[1000, 1001])
    given = parser.parse_args()
    out = given.out / given.task
    out.mkdir(parents=True, exist_ok=True)
    options, budgets = TASKS[given.task], sorted(given.budgets)
    runs = {
        (method, seed): out / f"{method.replace(', ', '-')}-{seed}" for method in given.methods for seed in given.seeds
    }
    # By seed, so that what is there after an interruption can be compared.
    for seed in given.seeds:
        for method in given.methods:
            print(f"{method}, seed {seed}", flush=True)
            search(given.program, runs[method, seed], [*options, *METHODS[method], "--seed", seed], budgets[-1])
    chosen = {(key, budget): choice(run, budget) for key, run in runs.items() for budget in budgets}
    blocks = {found.fingerprint: found.block for found in chosen.values()}
    tests = [long_trainings(given.program, out, blocks, options, given.long, seed) for seed in given.long_seeds]
    quality = {block: statistics.mean(test[block] for test in tests) for block in blocks}
    measured = {
        (*key, budget): (quality[found.fingerprint], found.seconds, found.flops) for (key, budget), found in chosen.items()
    }
    print_accuracies(given.methods, given.seeds, budgets, measured)
    if len(given.methods) > 1 and len(given.seeds) > 2:
        print_factors(given.methods, given.seeds, budgets, measured)


if __name__ == "__main__":
    main()
