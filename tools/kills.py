"""Kills a search again and again while it trains, continues it each time, and compares it with one that was left alone.

    python3 tools/kills.py BLOCKQNN OUT [--workers 1 4] [--nats] [--kills 20]

BLOCKQNN is the program; with --nats it needs the feature `nats`, and a nats-server on this machine. Every search has
rungs, so that kills fall between a promotion and its training, too. Over NATS two workers train: a kill hits the
controller or one of the workers, and a killed worker is replaced. Ends with an error if a table differs, or if a search
was over after fewer than half of the kills. OUT must be new.
"""

import argparse
import csv
import os
import pathlib
import random
import socket
import subprocess
import sys
import time

SEARCH = ["--agent", "best-with-priors", "--rungs", "3", "--epochs", "9", "--total-epochs", "240", "--minibatch", "8"]
SEARCH += ["--train-limit", "400", "--validation", "300", "--seed", "5"]


def table(run):
    """The rows of the run, without what depends on time and place."""
    rows = csv.DictReader((run / "results.csv").open())
    return [{key: cell for key, cell in row.items() if key not in ("seconds", "worker", "measured_at")} for row in rows]


def start(program, run, extra):
    begin = ["--out", run, "--resume"] if (run / "search.json").exists() else ["--out", run, *SEARCH]
    command = [program, "search", *begin, *extra]
    return subprocess.Popen(map(str, command), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(search):
    _, told = search.communicate()
    if search.returncode != 0:
        sys.exit(f"the search ended with status {search.returncode}:\n{told}")


class Nats:
    """A server and two workers."""

    def __init__(self, program, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"nats://127.0.0.1:{self.port}"
        server = ["nats-server", "-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", str(folder)]
        self.server = subprocess.Popen(server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1)
        self.program = program
        self.workers = [self.worker(), self.worker()]

    def worker(self):
        command = [str(self.program), "worker", "--nats", self.url]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill_a_worker(self, rng):
        place = rng.randrange(len(self.workers))
        self.workers[place].kill()
        self.workers[place].wait()
        self.workers[place] = self.worker()

    def close(self):
        for process in (*self.workers, self.server):
            process.kill()
            process.wait()


def tortured(program, run, extra, kills, nats, seconds):
    """Runs the search with kills at random moments; returns how many hit the controller and how many a worker."""
    rng = random.Random(run.name)
    hit = [0, 0]
    search = start(program, run, extra)
    while sum(hit) < kills:
        # Short enough that most kills are over before the search.
        try:
            search.wait(rng.uniform(0.2, 0.8 * seconds / kills))
            break
        except subprocess.TimeoutExpired:
            pass
        if nats and rng.random() < 0.5:
            nats.kill_a_worker(rng)
            hit[1] += 1
        else:
            search.kill()
            search.wait()
            search.stderr.close()
            hit[0] += 1
            search = start(program, run, extra)
    finish(search)
    return hit


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--nats", action="store_true")
    parser.add_argument("--kills", type=int, default=20)
    given = parser.parse_args()
    # Searches that are finished cannot be killed.
    given.out.mkdir(parents=True)
    alone = given.out / "alone"
    before = time.time()
    finish(start(given.program, alone, ["--workers", 1]))
    seconds = time.time() - before
    expected = table(alone)
    promoted = sum(int(row["rung"] or 0) > 0 for row in expected)
    print(f"left alone: {len(expected)} trials, {promoted} of them promotions, {seconds:.0f} s", flush=True)
    cases = [(workers, f"workers-{workers}", ["--workers", workers], None) for workers in given.workers]
    nats = Nats(given.program, given.out / "server") if given.nats else None
    if nats:
        cases.append((len(nats.workers), "nats", ["--nats", nats.url], nats))
    try:
        for processes, name, extra, broker in cases:
            run = given.out / name
            expected_seconds = seconds / min(processes, os.cpu_count())
            controllers, workers = tortured(given.program, run, extra, given.kills, broker, expected_seconds)
            if 2 * (controllers + workers) < given.kills:
                sys.exit(f"{name}: the search was over after {controllers + workers} of {given.kills} kills")
            if table(run) != expected:
                sys.exit(f"{name}: {run / 'results.csv'} differs from {alone / 'results.csv'}")
            print(f"{name}: the same table after {controllers} kills of the search and {workers} of a worker", flush=True)
    finally:
        if nats:
            nats.close()


if __name__ == "__main__":
    main()
