"""`search` and `verify`: nothing that is finished is lost by whatever ends them."""

import csv
import json
import math
import shutil
import signal
import unittest

from programs import (
    LIMIT,
    SIGNALS,
    STOPPED,
    ProgramTest,
    advised,
    contents,
    remount,
    run,
    run_into_closed_pipe,
    run_without_outputs,
    small_disk,
    start,
    start_in_terminal,
    temporary_files,
    wait_for,
)

RESULTS = ["best.json", "curves.csv", "results.csv", "utilisation.json"]


class SearchTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.out = self.folder / "run"

    def call(self, *arguments, **options):
        return run(*arguments, cwd=self.folder, **options)

    def search(self, trials=3, out="run"):
        images = ["--train-limit", 40, "--validation", 20, "--batch-size", 20, "--width", 2]
        out = ["--out", out] if out else []
        return ["search", "--trials", trials, "--minibatch", 2, "--epochs", 1, "--workers", 1, *images, *out]

    def verify(self, *more):
        return ["verify", "run", "--top", 2, "--batch-size", 20, "--checkpoint-every", 1, *more]

    def blocks(self, out="run"):
        """Accuracy and block of every trial, best first."""
        lines = (self.folder / out / "results.csv").read_text().splitlines()
        return [line.split(",")[1:5] for line in lines[1:] if line]

    def ranked(self, out="run"):
        """Trial, accuracy, reward and block of every trial, best first."""
        rows = csv.DictReader((self.folder / out / "results.csv").open())
        return [(row["trial"], row["accuracy"], row["reward"], row["architecture"]) for row in rows]

    def begun(self, trials, **options):
        """A search that has finished a trial."""
        process = start(*self.search(trials), cwd=self.folder, **options)
        wait_for(self.has_trials, process)
        return process

    def has_trials(self):
        journal = self.out / "journal.jsonl"
        return journal.exists() and '"finished"' in journal.read_text()


class Searches(SearchTest):
    def test_owners_of_folders(self):
        self.out.mkdir()
        (self.out / "results.csv").write_text("mine")
        before = contents(self.out)
        self.check(self.call(*self.search()), 1, "run is neither empty nor a run folder (it contains results.csv)")
        self.check(self.call("search", "--out", "run", "--resume"), 1, "run is not a run folder")
        self.assertEqual(contents(self.out), before)
        shutil.rmtree(self.out)
        process = self.begun(100_000)
        self.check(self.call("search", "--out", "run", "--resume"), 1, f"run is in use by process {process.pid}")
        self.stop(process, signal.SIGTERM)

    def test_a_search_begins_with_blocks_and_results_that_are_known(self):
        first = "conv3(0) conv1(1) add(0,2) terminal(3)"
        self.check(self.call(*self.search(), "--first", first), 0, "all 3 trials are in run")
        measured = {block for _, accuracy, _, block in self.ranked() if accuracy}
        self.assertIn(first, measured)
        lines = (self.out / "curves.csv").read_text().splitlines()
        trials = {line.split(",")[0] for line in lines[1:] if line}
        self.assertEqual((lines[0], len(trials)), ("trial,epoch,accuracy", len(measured)))
        # Its table and its folder are the same history, which is not proposed again.
        for number, history in enumerate(["run", "run/results.csv"]):
            out = f"later{number}"
            (self.folder / "first.txt").write_text("conv5(0) terminal(1)\n\nconv3(0) terminal(1)\n")
            call = self.call(*self.search(4, out), "--history", history, "--first", "first.txt")
            self.check(call, 0, f"{len(measured)} results from {history}, from which the agent learns first")
            found = {block for *_, block in self.ranked(out)}
            self.assertTrue({"conv5(0) terminal(1)", "conv3(0) terminal(1)"} <= found and first not in found, found)
        self.assertEqual(self.ranked("later0"), self.ranked("later1"))
        # Both are kept: a longer search goes on without them, and refuses others by name.
        self.check(self.call("search", "--out", "later0", "--resume", "--trials", 6), 0, "all 6 trials are in later0")
        self.check(self.call("search", "--out", "later0", "--resume", "--first", first), 1, 'first: "2 architectures')

    def test_what_a_search_cannot_begin_with_is_refused_by_name(self):
        for option, words in [
            (["--first", "conv9(0) terminal(1)"], "is no file and no block"),
            (["--first", "conv3(0) terminal(1)", "--first", "conv3(0) terminal(1)"], "is the same architecture as number 1"),
            (["--history", "missing.csv"], "--history: cannot read missing.csv"),
            (["--history", "."], "is not a run folder"),
        ]:
            self.check(self.call(*self.search(), *option), 1, words)

    def test_blocks_that_are_behind_are_stopped_and_rank_last(self):
        self.check(self.call(*self.search(), "--median-stopping"), 1, "(options --epochs, --median-stopping)")
        self.check(self.call(*self.search(), "--median-stopping", "--rolling"), 2, "cannot be used with")
        options = ["--set", "recipe.epochs=4", "--set", "search.median_stopping.min_trials=2", "--median-stopping", 0]
        self.check(self.call(*self.search(24), *options), 0, "were stopped early, and rank last")
        table = list(csv.DictReader((self.out / "results.csv").open()))
        stopped = [row["stopped"] == "true" for row in table if row["accuracy"]]
        self.assertEqual(stopped, sorted(stopped))
        self.assertTrue(any(stopped) and not stopped[0], stopped)
        epochs = [int(row["epochs"]) for row in table if row["stopped"] == "true"]
        self.assertTrue(all(1 <= epoch < 4 for epoch in epochs), epochs)
        self.check(self.call("report", "run"), 0, "report.html")
        page = (self.out / "report.html").read_text()
        self.assertTrue("stopped early" in page and "Accuracy by epoch" in page)

    def test_promoted_blocks_go_on_and_a_killed_search_with_rungs_ends_the_same(self):
        options = ["--set", "recipe.epochs=4", "--rungs", 2]
        self.check(self.call(*self.search(12, "whole"), *options), 0, "all 12 trials are in whole")
        # As if it had been killed amid its promotions: the journal ends within a line, and no checkpoint is left.
        shutil.copytree(self.folder / "whole", self.folder / "cut")
        journal = self.folder / "cut" / "journal.jsonl"
        whole = journal.read_bytes()
        journal.write_bytes(whole[: len(whole) * 2 // 3])
        self.check(self.call("search", "--out", "cut", "--resume", "--rungs", 3), 1, "search.rungs.count")
        self.check(self.call("search", "--out", "cut", "--resume", "--processes", 2), 0, "all 12 trials are in cut")
        for run in ["whole", "cut"]:
            table = list(csv.DictReader((self.folder / run / "results.csv").open()))
            self.assertEqual({row["rung"]: row["epochs"] for row in table}, {"0": "2", "1": "4"})
            rungs = [int(row["rung"]) for row in table if row["accuracy"]]
            self.assertEqual(rungs, sorted(rungs, reverse=True))
            self.assertFalse((self.folder / run / "checkpoints").exists())
        self.assertEqual(*(self.ranked(run) for run in ["whole", "cut"]))

    def test_of_simultaneous_starts_each_has_its_own_folder(self):
        many = [start(*self.search(2, None), cwd=self.folder) for _ in range(4)]
        for process in many:
            out, err = process.communicate(timeout=LIMIT)
            self.check((process.returncode, out, err), 0, "all 2 trials are in")
        names = sorted(path.name for path in (self.folder / "blockqnn-runs").iterdir())
        self.assertEqual(names, ["embedded-quick-seed0"] + [f"embedded-quick-seed0-{number}" for number in [2, 3, 4]])

    def test_every_signal_keeps_what_is_finished_and_the_advice_leads_to_the_same_end(self):
        self.check(self.call(*self.search(100, "whole")), 0)
        for number in SIGNALS:
            with self.subTest(number):
                shutil.rmtree(self.out, ignore_errors=True)
                message = self.stop(self.begun(100), number)
                self.assertTrue(all((self.out / name).exists() for name in RESULTS))
                self.check(self.call(*advised(message)), 0, "all 100 trials are in")
                self.assertEqual(self.blocks(), self.blocks("whole"))

    def test_a_terminal_that_is_closed_stops_the_search_with_its_results(self):
        process, terminal = start_in_terminal(*self.search(100_000), cwd=self.folder)
        terminal.until(self.has_trials, process)
        terminal.close()
        self.assertEqual(process.wait(LIMIT), STOPPED)
        self.assertTrue(all((self.out / name).exists() for name in RESULTS))
        self.assertEqual(temporary_files(self.out), [])

    def test_under_nohup_the_search_outlives_its_terminal(self):
        process, terminal = start_in_terminal(*self.search(20), cwd=self.folder, ignore_hang_up=True)
        terminal.until(lambda: True, process)
        terminal.close()
        self.assertEqual(process.wait(LIMIT), 0)
        self.assertEqual(len(self.blocks()), 20)

    def test_closed_outputs_change_nothing_but_the_outputs(self):
        for number, way in enumerate([run_into_closed_pipe, run_without_outputs]):
            out = f"run{number}"
            self.assertEqual(way(*self.search(5, out), cwd=self.folder), 0)
            self.assertEqual(len(self.blocks(out)), 5)
        # And with trainings in child processes.
        arguments = [*self.search(5), "--processes", 2]
        arguments = arguments[: arguments.index("--workers")] + arguments[arguments.index("--workers") + 2 :]
        self.assertEqual(run_into_closed_pipe(*arguments, cwd=self.folder), 0)
        self.assertEqual(len(self.blocks()), 5)
        with open("/dev/full", "w", encoding="ascii") as full:
            result = self.call(*self.search(3, "full"), stdout=full)
        self.check((result[0], "", result[2]), 1, "cannot write to the standard output: No space left")
        self.assertEqual(len(self.blocks("full")), 3)

    def test_a_full_disk_keeps_what_is_finished_and_the_search_goes_on_with_more_room(self):
        self.check(self.call(*self.search(400, "whole")), 0)
        with small_disk(self.folder / "disk", "340k"):
            message = self.check(self.call(*self.search(400, "disk/run")), 1, "No space left", "Finished trials are not lost")
            self.assertIn("resume the run", message)
            self.assertEqual(temporary_files(self.folder / "disk"), [])
            remount(self.folder / "disk", "size=20m")
            self.check(self.call("search", "--out", "disk/run", "--resume"), 0, "all 400 trials are in")
            self.assertEqual(self.blocks("disk/run"), self.blocks("whole"))

    def test_a_finished_search_that_is_resumed_says_so(self):
        self.check(self.call(*self.search()), 0)
        before = contents(self.out, without=["lock", "results.csv", "curves.csv", "best.json", "journal.reserve"])
        results = self.blocks()
        self.check(self.call("search", "--out", "run", "--resume"), 0, "all 3 trials were finished before")
        after = contents(self.out, without=["lock", "results.csv", "curves.csv", "best.json", "journal.reserve"])
        self.assertEqual((after, self.blocks()), (before, results))

    def test_a_disk_that_is_read_only_is_named(self):
        with small_disk(self.folder / "disk", "1m"):
            remount(self.folder / "disk", "ro")
            self.check(self.call(*self.search(1, "disk/run")), 1, "disk/run", "Read-only file system")


class Latencies(SearchTest):
    def rows(self, out="run"):
        with (self.folder / out / "results.csv").open() as file:
            return {row["trial"]: row for row in csv.DictReader(file)}

    def test_a_target_for_latency_ends_with_a_front_in_the_report_and_a_resumed_run_measures_nothing_again(self):
        goals = ["--target", "latency_ms=0.001", "--target", "latency_ratio=1000:2"]
        options = ["--train-limit", 40, "--validation", 20, "--batch-size", 20, "--width", 2, "--epochs", 1]
        search = ["search", "--trials", 4, "--minibatch", 2, "--processes", 2, "--out", "run", *options]
        _, out, _ = result = self.call(*search, *goals)
        self.check(result, 0, "all 4 trials are in")
        self.assertIn("latency_batch_ms  latency_ms  latency_ratio", out)
        rows = self.rows()
        for row in rows.values():
            value, latency, ratio = (float(row[name]) for name in ["accuracy", "latency_ms", "latency_ratio"])
            self.assertGreater(float(row["latency_batch_ms"]), 0)
            self.assertTrue(0.01 < ratio < 1000, ratio)
            self.assertAlmostEqual(float(row["reward"]), value - 3 * math.log2(latency / 0.001), places=6)
        self.check(self.call("report", "run", "--csv", "tables"), 0)
        page = (self.out / "report.html").read_text()
        self.assertIn("Accuracy against latency_ms", page)
        self.assertIn("Pareto front", page)
        front = (self.folder / "tables" / "pareto-latency_ms.csv").read_text().splitlines()
        self.assertEqual(front[0], "trial,latency_ms,accuracy_percent,architecture")
        fastest = min(rows.values(), key=lambda row: float(row["latency_ms"]))
        self.assertEqual(front[1].split(",")[0], fastest["trial"])

        process = start("search", "--out", "run", "--resume", "--trials", 100_000, cwd=self.folder)
        wait_for(lambda: (self.out / "journal.jsonl").read_text().count('"finished"') > 5, process)
        process.kill()
        process.communicate(timeout=LIMIT)
        self.check(self.call("search", "--out", "run", "--resume", "--trials", 8), 0, "all 8 trials are in")
        again = self.rows()
        columns = ["accuracy", "latency_ms", "latency_batch_ms", "latency_ratio", "reward"]
        for trial, row in rows.items():
            self.assertEqual([again[trial][name] for name in columns], [row[name] for name in columns])

    def test_a_limit_on_latency_is_a_reason_with_its_figures(self):
        self.check(self.call(*self.search(2), "--limit", "latency_ms=0.000001", "--limit", "flops=1e9"), 0, "all 2 trials are in")
        for row in self.rows().values():
            self.assertEqual((row["accuracy"], "latency_ms" in row), ("", False))
            self.assertRegex(row["infeasible"], r"^latency_ms of [0-9.]+ exceeds the limit of 0.000001 \(its value was [0-9.]+\)$")

    def test_what_does_not_measure_latency_says_so(self):
        torch = ["--trainer", "torch", "--target", "latency_ms=5"]
        self.check(self.call("search", "--train-limit", 40, "--validation", 20, *torch), 1, "recipe.latency is true: it must be false with PyTorch")
        self.check(self.call("search", "--trainer", "x", "--latency"), 1, "--latency would not be used")
        self.check(self.call(*self.search(2), "--target", "latency=5"), 1, 'the measurement "latency" is needed', "nothing besides the value")
        other = 'search.objective={"name":"RMSE","direction":"minimise","worst":8,"best":0}'
        self.check(self.call(*self.search(2, "other"), "--set", other), 1, "measured by their accuracy", "--trainer")


class Verifications(SearchTest):
    def setUp(self):
        super().setUp()
        self.check(self.call(*self.search(4)), 0)
        self.verification = self.out / "verification"

    def networks(self):
        return [path.read_bytes() for path in sorted(self.verification.glob("networks/*/network.safetensors"))]

    def begun(self, *arguments, **options):
        process = start(*arguments, cwd=self.folder, **options)
        wait_for(self.has_checkpoint, process)
        return process

    def has_checkpoint(self):
        return any(self.verification.glob("networks/*/checkpoint.safetensors"))

    def test_owners_of_folders(self):
        foreign = self.folder / "foreign"
        foreign.mkdir()
        (foreign / "verification.csv").write_text("mine")
        self.check(self.call(*self.verify("--out", "foreign")), 1, "foreign is neither empty nor a run folder")
        self.assertEqual((foreign / "verification.csv").read_text(), "mine")
        before = contents(self.out)
        self.check(self.call(*self.verify("--out", "run/")), 1, "is the folder of the search itself")
        self.assertEqual(contents(self.out), before)
        process = self.begun(*self.verify("--epochs", 100_000))
        result = self.call(*self.verify("--epochs", 100_000))
        self.check(result, 1, f"run/verification is in use by process {process.pid}")
        self.stop(process, signal.SIGTERM)

    def test_every_signal_leaves_checkpoints_and_the_same_command_leads_to_the_same_end(self):
        command = self.verify("--epochs", 200)
        self.check(self.call(*command), 0, "converged accuracy")
        networks = self.networks()
        self.assertEqual(len(networks), 2)
        for number in SIGNALS:
            with self.subTest(number):
                shutil.rmtree(self.verification)
                self.assertIn("repeat the command to continue", self.stop(self.begun(*command), number))
                self.check(self.call(*command), 0, "converged accuracy")
                self.assertEqual(self.networks(), networks)

    def test_a_terminal_that_is_closed_stops_it_with_its_checkpoint(self):
        process, terminal = start_in_terminal(*self.verify("--epochs", 100_000), cwd=self.folder)
        terminal.until(self.has_checkpoint, process)
        terminal.close()
        self.assertEqual(process.wait(LIMIT), STOPPED)
        self.assertEqual(temporary_files(self.verification), [])

    def test_closed_outputs_change_nothing_but_the_outputs(self):
        for way in [run_into_closed_pipe, run_without_outputs]:
            shutil.rmtree(self.verification, ignore_errors=True)
            (self.out / "verified.csv").unlink(missing_ok=True)
            self.assertEqual(way(*self.verify("--epochs", 2), cwd=self.folder), 0)
            for table in [self.out / "verified.csv", self.verification / "verification.csv"]:
                self.assertEqual(len(table.read_text().splitlines()), 3)

    def test_a_full_disk_is_no_fault_of_a_block(self):
        self.check(self.call(*self.verify("--epochs", 3)), 0)
        networks = self.networks()
        journal = (self.verification / "journal.jsonl").stat().st_size
        shutil.rmtree(self.verification)
        # Room for the journal and its reserve, and little for networks.
        with small_disk(self.folder / "disk", f"{(journal + 1023) // 1024 + 256 + 40}k") as disk:
            command = self.verify("--epochs", 3, "--out", "disk/verification")
            message = self.check(self.call(*command), 1, "cannot write disk/verification/", "No space left")
            self.assertNotIn("Delete it", message)
            self.assertIn("start the program again to continue", message)
            remount(disk, "size=20m")
            self.check(self.call(*command), 0, "converged accuracy")
            self.verification = disk / "verification"
            self.assertEqual(self.networks(), networks)

    def test_a_checkpoint_that_cannot_be_read_is_no_fault_of_a_block_and_the_advice_works(self):
        command = self.verify("--epochs", 200)
        self.stop(self.begun(*command), signal.SIGTERM)
        [checkpoint] = self.verification.glob("networks/*/checkpoint.safetensors")
        checkpoint.write_bytes(checkpoint.read_bytes()[:100])
        self.check(self.call(*command), 1, f"cannot use {checkpoint.relative_to(self.folder)}", "Delete it to start")
        checkpoint.unlink()
        self.check(self.call(*command), 0, "converged accuracy")
        self.assertEqual(len(self.networks()), 2)


if __name__ == "__main__":
    unittest.main()
