"""`trainer`, and `search --trainer`: blocks that Python trains."""

import csv
import io
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import unittest

from programs import LIMIT, ProgramTest, advised, contents, run, start, wait_for

# Takes as long as a short training, and prints what no protocol expects.
TRAINER = """
import time
import blockqnn_worker

@blockqnn_worker.run(identity="lengths")
def train(task):
    print("noise", task.settings["data"], task.settings["device"])
    for epoch in range(task.epochs):
        time.sleep(0.02)
        task.progress(epoch + 1)
    source = compile(task.pytorch, "network", "exec")
    assert task.text.split()[-1].startswith("terminal") and len(task.graph) > 2 and "Network" in source.co_names
    return {"accuracy": 20 + len(task.text) % 50 + task.seed % 7, "seconds": 0}
"""


def python_with_torch():
    for python in [os.environ.get("BLOCKQNN_PYTHON"), "/usr/bin/python3", sys.executable]:
        if python and subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode == 0:
            return python
    return None


class Trainers(ProgramTest):
    def setUp(self):
        super().setUp()
        self.check(self.call("trainer", "--write", "."), 0, "wrote ./blockqnn_worker.py", "wrote ./train.py", "wrote ./torch_trainer.py")
        (self.folder / "lengths.py").write_text(TRAINER)
        self.command = f"{shlex.quote(sys.executable)} lengths.py"

    def call(self, *arguments, **options):
        return run(*arguments, cwd=self.folder, **options)

    def search(self, *more, trials=24, out="run"):
        return ["search", "--trainer", self.command, "--trials", trials, "--minibatch", 4, "--out", out, *more]

    def records(self, out="run"):
        """Every line of the table but its times, which differ."""
        return (self.folder / out / "results.csv").read_text()

    def test_files_that_are_there_are_not_replaced(self):
        self.check(self.call("trainer", "--write", "."), 0, "all files are in . already")
        (self.folder / "train.py").write_text("mine")
        (self.folder / "blockqnn_worker.py").unlink()
        before = contents(self.folder)
        self.check(self.call("trainer", "--write", "."), 1, "./train.py is there with other contents, and is not replaced")
        self.assertEqual(contents(self.folder), before)

    def test_a_search_that_is_killed_and_resumed_ends_as_a_whole_one(self):
        message = self.check(self.call(*self.search("--data", "photos", "--device", "a,b", out="whole")), 0)
        self.assertIn("2 epochs each by the trainer", message)
        self.assertIn("noise photos a", message)
        self.assertIn("noise photos b", message)
        self.assertNotIn("blockqnn verify", message)
        process = start(*self.search("--processes", 2), cwd=self.folder)
        journal = self.folder / "run" / "journal.jsonl"
        wait_for(lambda: journal.exists() and journal.read_text().count('"finished"') > 5, process)
        process.kill()
        process.communicate(timeout=LIMIT)
        resume = ["search", "--out", "run", "--resume", "--trainer", self.command]
        process = start(*resume, cwd=self.folder)
        wait_for(lambda: journal.read_text().count('"finished"') > 9, process)
        message = self.stop(process, signal.SIGTERM)
        self.check(self.call(*advised(message)), 0, "all 24 trials are in")
        self.assertEqual(self.records(), self.records("whole"))
        self.assertEqual((self.folder / "run" / "best.json").read_text(), (self.folder / "whole" / "best.json").read_text())
        self.assertFalse((self.folder / "run" / "data_folder").exists())

    def test_a_run_is_resumed_with_its_trainer_alone(self):
        self.check(self.call(*self.search(trials=4)), 0)
        before = contents(self.folder / "run", without=["lock"])
        longer = ["search", "--out", "run", "--resume", "--trials", 8]
        self.check(self.call(*longer, "--workers", 1), 1, "lengths, trained by")
        (self.folder / "other.py").write_text(TRAINER.replace("lengths", "other"))
        self.check(self.call(*longer, "--trainer", f"{sys.executable} other.py"), 1, "other, trained by", "lengths, trained by")
        self.assertEqual(contents(self.folder / "run", without=["lock"]), before)
        self.check(self.call(*longer, "--trainer", self.command), 0, "all 8 trials are in")

    def test_a_trainer_may_report_an_error_that_is_minimised_and_measurements_of_its_own(self):
        answer = '{"value": 1 + task.seed % 7, "seconds": 0, "measurements": {"energy_mj": len(task.text)}}'
        (self.folder / "lengths.py").write_text(re.sub('return {"accuracy".*', f"return {answer}", TRAINER))
        objective = 'search.objective={"name":"RMSE","unit":"mm","direction":"minimise","worst":9,"best":0}'
        goals = ["--set", objective, "--limit", "energy_mj=40", "--target", "energy_mj=1:1"]
        _, out, err = result = self.call(*self.search(*goals))
        self.check(result, 0, "all 24 trials are in", "objective RMSE (mm)")
        self.assertIn("RMSE", out)
        rows = list(csv.DictReader(io.StringIO(self.records())))
        measured = [row for row in rows if row["RMSE"]]
        self.assertTrue(measured and all(float(row["energy_mj"]) <= 40 for row in measured))
        self.assertTrue(all("exceeds the limit of 40" in row["infeasible"] for row in rows if not row["RMSE"]))
        self.check(self.call("report", "run", "--csv", "tables"), 0)
        page = (self.folder / "run" / "report.html").read_text()
        self.assertIn("RMSE against energy_mj", page)
        for text in [out, err, page.split("<body")[1], self.records()]:
            self.assertNotIn("accuracy", text)
        self.check(self.call("export", "run"), 0, "RMSE ")
        self.check(self.call("calibrate", "--run", "run"), 1, 'has the objective "RMSE": only accuracies are verified')

    def test_the_network_is_that_of_the_settings(self):
        self.check(self.call(*self.search("--dataset", "cifar100", trials=2)), 0, "3x32x32 and 100 classes")
        settings = ["--set", "search.network.classes=7", "--set", 'search.network.image={"channels":2,"height":8,"width":8}']
        shutil.rmtree(self.folder / "run")
        self.check(self.call(*self.search(*settings, trials=2)), 0, "2x8x8 and 7 classes")
        resume = ["search", "--out", "run", "--resume", "--trials", 4, "--trainer", self.command]
        self.check(self.call(*resume), 0, "2x8x8 and 7 classes")

    def test_a_trainer_that_does_not_work_is_named_with_what_to_do(self):
        python = shlex.quote(sys.executable)
        (self.folder / "dies.py").write_text("import no_such_module")
        (self.folder / "silent.py").write_text("import time; time.sleep(600)")
        (self.folder / "fails.py").write_text(TRAINER.replace("    print", "    undefined()\n    print"))
        for command, text in [
            ("no-such-program", "error: the trainer `no-such-program` cannot be started"),
            (f"{python} dies.py", "dies.py` ended before it was ready"),
            (f"{python} silent.py", "silent.py` was not ready after 1s: find out what it waits for, or allow more patience"),
            (f"{python} fails.py", "11 child processes failed in a row, the last one with: NameError: name 'undefined'"),
        ]:
            patience = ["--process-patience", 1] if "silent" in command else []
            arguments = ["search", "--trainer", command, "--trials", 16, "--minibatch", 8, *patience]
            self.check(self.call(*arguments), 1, text)
        self.check(self.call("search", "--trainer", "python3 'x"), 2, "a quote is not closed")
        self.check(self.call("search", "--trainer", ""), 2, "it must name a program")
        self.check(self.call("search", "--trainer", "x", "--workers", 2), 2, "cannot be used with")

    def test_the_example_trains(self):
        python = python_with_torch()
        if python is None:
            self.skipTest("needs PyTorch: name a Python that has it in BLOCKQNN_PYTHON")
        arguments = ["search", "--trials", 4, "--minibatch", 2, "--width", 4, "--epochs", 2, "--out", "run"]
        self.check(self.call(*arguments, "--trainer", f"{python} train.py"), 0, "all 4 trials are in")
        accuracies = [row["accuracy"] for row in csv.DictReader(io.StringIO(self.records()))]
        best = max(float(accuracy) for accuracy in accuracies if accuracy)
        self.assertGreater(best, 20, "chance is 10 %")


class Worker(unittest.TestCase):
    def test_the_file_for_python_has_no_dependencies(self):
        root = pathlib.Path(__file__).resolve().parents[3]
        text = (root / "python" / "blockqnn_worker.py").read_text()
        modules = {line.split()[1] for line in text.splitlines() if line.startswith(("import ", "from "))}
        self.assertLessEqual(modules, sys.stdlib_module_names)


if __name__ == "__main__":
    unittest.main()
