"""What rungs and priors save: searches with really trained blocks, read at several budgets of epochs.

    python3 tools/cheaper_search.py BLOCKQNN OUT --task default --seeds 0 1 2 3 4 --budgets 300 900 2700
    python3 tools/cheaper_search.py BLOCKQNN OUT --task paper --seeds 0 1 2 --budgets 300 900

BLOCKQNN is the program. Every method searches once for each seed, until the largest budget is used. At each budget its
choice is the block of the highest rung with the highest reward; every choice is then trained for --long epochs with
other weights and measured on the test images. Prints the table in Markdown. Repeat the command to continue after it was
stopped, or with more seeds or larger budgets. Needs Python 3 alone.
"""

import argparse
import csv
import pathlib
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
# Those of the default search, on which its networks are trained.
TRAINING_IMAGES = 1_000


def call(*command):
    """Runs a command and returns its seconds of processor time and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def search(program, run, options, budget):
    """Begins a search, or continues it up to the budget. The processor time of each call is kept beside it."""
    clock = run.with_suffix(".seconds")
    spent = dict(line.split() for line in clock.read_text().splitlines()) if clock.exists() else {}
    if str(budget) in spent:
        return
    begin = ["--out", run, "--resume"] if run.exists() else ["--out", run, "--workers", 1, "--epochs", EPOCHS, *options]
    seconds, _ = call(program, "search", *begin, "--total-epochs", budget)
    with clock.open("a") as file:
        file.write(f"{budget} {seconds:.1f}\n")


def trials(run):
    """The trials in the order in which they were proposed."""
    rows = [row for row in csv.DictReader((run / "results.csv").open()) if row["accuracy"]]
    return sorted(rows, key=lambda row: int(row["trial"]))


def added(rows):
    """The epochs that each trial adds to those of the same block at the rung below, where it was measured before."""
    of_rung = {int(row["rung"]): int(row["epochs"]) for row in rows if row.get("rung")}
    return [int(row["epochs"]) - of_rung.get(int(row.get("rung") or 0) - 1, 0) for row in rows]


def choice(run, budget):
    """The block of the highest rung with the highest reward within a budget, and the multiply-adds spent per image."""
    spent, work, best = 0, 0, None
    rows = trials(run)
    for row, epochs in zip(rows, added(rows)):
        spent += epochs
        if spent > budget:
            break
        work += epochs * int(row["flops"])
        order = (int(row.get("rung") or 0), float(row["reward"]))
        if best is None or order > best[0]:
            best = (order, row["architecture"])
    if best is None:
        raise SystemExit(f"no block of {run} was measured within {budget} epochs: give a larger budget")
    return best[1], work


def long_trainings(program, out, blocks, options, long, seed):
    """The accuracy in percent on the test images of each block after a long training."""
    folder = out / f"long-{long}-{seed}"
    table = folder.with_suffix(".table")
    listed = "\n".join(sorted(blocks)) + "\n"
    names = folder.with_suffix(".blocks")
    if not names.exists() or names.read_text() != listed:
        # Others than before: those that were trained before are trained again, with the same result.
        if folder.exists():
            folder.rename(folder.with_suffix(f".{sum(1 for _ in out.glob('long-*'))}"))
        table.unlink(missing_ok=True)
        names.write_text(listed)
    if not table.exists():
        first = ["--first", names, "--agent", "random", "--epochs", 1, "--trials", len(blocks), "--seed", seed]
        begin = ["--resume"] if folder.exists() else ["--workers", 1, *options, *first]
        call(program, "search", "--out", folder, *begin)
        verify = ["--top", len(blocks), "--recipe", "cifar", "--epochs", long, "--test"]
        _, printed = call(program, "verify", folder, *verify)
        table.write_text(printed)
    # rank, converged, test, early stop, early rank, reward, parameters, block
    rows = [line.replace(" %", "").split(None, 7) for line in table.read_text().splitlines()]
    return {row[7]: float(row[2]) for row in rows if len(row) == 8 and row[0].isdigit()}


def mean(values):
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):.2f} ± {error:.2f}"


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
    blocks = {block for block, _ in chosen.values()}
    tests = [long_trainings(given.program, out, blocks, options, given.long, seed) for seed in given.long_seeds]
    quality = {block: statistics.mean(test[block] for test in tests) for block in blocks}
    print("| method | " + " | ".join(f"{budget} epochs | 1e12 multiply-adds" for budget in budgets) + " |")
    print("| --- |" + " --- | --- |" * len(budgets))
    for method in given.methods:
        cells = []
        for budget in budgets:
            found = [chosen[(method, seed), budget] for seed in given.seeds]
            work = statistics.mean(work for _, work in found) * TRAINING_IMAGES / 1e12
            cells += [mean([quality[block] for block, _ in found]), f"{work:.3g}"]
        print(f"| {method} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
