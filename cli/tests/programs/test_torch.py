"""`search --trainer torch` and `verify --trainer torch`: blocks that PyTorch trains by the search's own recipe."""

import csv
import io
import os
import pathlib
import signal
import subprocess
import sys
import unittest

from programs import LIMIT, ProgramTest, advised, run, start, wait_for
from test_trainer import python_with_torch

SMALL = ["--width", 4, "--epochs", 2, "--train-limit", 200, "--validation", 100, "--minibatch", 4]


def children(process):
    """The processes that a process started."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == process.pid:
                found.append(int(folder.name))
        except OSError:
            pass  # It has ended.
    return found


class WithoutTorch(ProgramTest):
    def test_a_missing_python_or_pytorch_is_one_line_that_says_what_to_do(self):
        # Without its packages.
        bare = self.folder / "python3"
        bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E "$@"\n')
        bare.chmod(0o755)
        for python, texts in [
            (bare, ["the trainer `torch` is not ready: ", "has no PyTorch (", "pip install torch numpy", "BLOCKQNN_PYTHON"]),
            ("/no/python3", ["the trainer `torch` cannot be started", "install it, or name one in the variable BLOCKQNN_PYTHON"]),
        ]:
            environment = {**os.environ, "BLOCKQNN_PYTHON": str(python), "BLOCKQNN_CACHE": str(self.folder / "cache")}
            message = self.check(run("search", "--trainer", "torch", cwd=self.folder, env=environment), 1, *texts)
            self.assertEqual([line.count("torch") > 0 for line in message.splitlines() if line.startswith("error")], [True])

    def test_options_that_would_not_be_used_are_refused(self):
        call = lambda *arguments: run(*arguments, cwd=self.folder)
        self.check(call("search", "--torch-compile", "--trainer", "python3 x.py"), 1, "--torch-compile is for --trainer torch")
        self.check(call("search", "--torch-compile"), 2, "--trainer")
        self.check(call("verify", "run", "--trainer", "python3 x.py"), 2, "[possible values: torch]")
        self.check(call("search", "--trainer", "torch", "--dry-run"), 0)
        self.check(call("search", "--trainer", "python3 x.py", "--download", "--dataset", "cifar10"), 1, "--download would not")


class WithTorch(ProgramTest):
    def setUp(self):
        super().setUp()
        python = python_with_torch()
        if python is None:
            self.skipTest("needs PyTorch: name a Python that has it in BLOCKQNN_PYTHON")
        self.environment = {**os.environ, "BLOCKQNN_PYTHON": python, "BLOCKQNN_CACHE": str(self.folder / "cache")}

    def call(self, *arguments):
        return run(*arguments, cwd=self.folder, env=self.environment)

    def start(self, *arguments):
        return start(*arguments, cwd=self.folder, env=self.environment)

    def search(self, out, *more):
        # One thread each, whatever the number of processes: sums in another order may differ.
        self.environment.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
        return ["search", "--trainer", "torch", "--device", "cpu", "--processes", 2, *SMALL, "--out", out, *more]

    def rows(self, out):
        rows = list(csv.DictReader(io.StringIO((self.folder / out / "results.csv").read_text())))
        return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]

    def test_a_search_that_is_killed_and_resumed_ends_as_a_whole_one_though_workers_are_killed(self):
        message = self.check(self.call(*self.search("whole", "--trials", 12)), 0, "all 12 trials are in", "rank  accuracy")
        self.assertIn("blockqnn verify whole", message)
        self.assertFalse((self.folder / "whole" / "checkpoints").exists())
        identity = (self.folder / "whole" / "search.json").read_text()
        self.assertIn("trained by PyTorch", identity)
        self.assertIn("on cpu", identity)

        process = self.start(*self.search("run", "--trials", 12))
        journal = self.folder / "run" / "journal.jsonl"
        wait_for(lambda: journal.exists() and journal.read_text().count('"finished"') > 1, process)
        os.kill(children(process)[0], signal.SIGTERM)
        wait_for(lambda: journal.read_text().count('"finished"') > 4, process)
        process.kill()
        process.communicate(timeout=LIMIT)
        resume = ["search", "--out", "run", "--resume", "--processes", 2, "--device", "cpu"]
        self.check(self.call("search", "--out", "run", "--resume"), 1, "trained by PyTorch")
        process = self.start(*resume, "--trainer", "torch")
        wait_for(lambda: journal.read_text().count('"finished"') > 7, process)
        message = self.stop(process, signal.SIGTERM)
        self.assertIn("--trainer torch", message)
        self.check(self.call(*advised(message), "--processes", 2, "--device", "cpu"), 0, "all 12 trials are in")
        self.assertEqual(self.rows("run"), self.rows("whole"))

    def test_what_was_found_is_verified_exported_and_transferred(self):
        self.check(self.call(*self.search("run", "--trials", 4)), 0)
        verify = ["verify", "run", "--top", 2, "--epochs", 2, "--train-limit", 200, "--validation", 100]
        message = self.check(self.call(*verify, "--trainer", "torch", "--device", "cpu", "--test"), 0, "rank  converged      test")
        self.assertNotIn("nan", message.lower())
        networks = list((self.folder / "run" / "verification" / "networks").glob("*/network.safetensors"))
        self.assertEqual(len(networks), 2)
        self.assertEqual(list((self.folder / "run").rglob("checkpoint.pt")), [])
        self.check(self.call(*verify, "--out", "own"), 0, "rank  converged")
        self.check(self.call(*verify), 1, "trained by PyTorch")
        self.check(self.call("export", "run", "--to", "safetensors", "--out", "block.safetensors"), 0)
        self.check(self.call("export", "run", "--to", "pytorch", "--out", "block.py"), 0)
        script = "import block; network, facts = block.load('block.safetensors'); print(len(facts['classes']))"
        used = subprocess.run(
            [self.environment["BLOCKQNN_PYTHON"], "-c", script], cwd=self.folder, capture_output=True, text=True, check=True
        )
        self.assertEqual(used.stdout, "10\n")
        self.check(self.call("transfer", "--block", "run", "--epochs", 1, "--size", 28, "--width", 4, "--out", "large"), 0, "top-1")


if __name__ == "__main__":
    unittest.main()
