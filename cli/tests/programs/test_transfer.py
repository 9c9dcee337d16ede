"""`transfer`: one owner for a folder, nothing lost by whatever ends it, and a finished training stays as it is."""

import json
import shutil
import signal
import unittest

from programs import (
    LIMIT,
    ROOT,
    SIGNALS,
    STOPPED,
    ProgramTest,
    advised,
    contents,
    make_pictures,
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

COMMAND = "transfer"


class TransferTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.pictures = make_pictures(self.folder / "pictures")
        self.out = self.folder / "out"

    def arguments(self, epochs=2, out="out", *more):
        sizes = ["--size", 16, "--width", 2, "--batch-size", 8, "--threads", 1]
        out = ["--out", out] if out else []
        return [COMMAND, "--data", "pictures", "--epochs", epochs, *sizes, *out, *more]

    def call(self, *arguments, **options):
        return run(*arguments, cwd=self.folder, **options)

    def whole(self, epochs):
        """The weights of a training that nothing disturbs."""
        self.check(self.call(*self.arguments(epochs, "whole")), 0, "top-1")
        return (self.folder / "whole/network.safetensors").read_bytes()

    def begun(self, epochs, **options):
        """A training in its second epoch or later."""
        process = start(*self.arguments(epochs), cwd=self.folder, **options)
        wait_for((self.out / "checkpoint.safetensors").exists, process)
        return process

    def assert_finished(self, weights=None):
        names = {path.name for path in self.out.iterdir()}
        expected = {"block.json", "epochs.csv", "lock", "network.safetensors", "result.json", "transfer.json"}
        self.assertEqual(names, expected)
        if weights is not None:
            self.assertEqual((self.out / "network.safetensors").read_bytes(), weights)

    def assert_stopped(self):
        self.assertTrue((self.out / "checkpoint.safetensors").exists())
        self.assertFalse((self.out / "result.json").exists())
        self.assertEqual(temporary_files(self.out), [])


class OwnersOfFolders(TransferTest):
    def test_a_folder_of_somebody_else_is_refused_and_stays_as_it_is(self):
        self.out.mkdir()
        for name in ["result.json", "epochs.csv", "network.safetensors"]:
            (self.out / name).write_text("mine")
        before = contents(self.out)
        self.check(self.call(*self.arguments()), 1, "out contains epochs.csv", "choose another folder")
        self.check(self.call(*self.arguments(), "--resume"), 2, "cannot be used with")
        self.check(self.call(COMMAND, "--out", "out", "--resume"), 1, "there is no training to resume in out")
        self.assertEqual(contents(self.out), before)

    def test_the_folder_of_a_search_is_refused_and_still_has_its_block(self):
        search = ["search", "--trials", 1, "--minibatch", 1, "--epochs", 1, "--train-limit", 40, "--validation", 20]
        self.check(self.call(*search, "--out", "search"), 0)
        before = contents(self.folder / "search")
        self.check(self.call(*self.arguments(2, "search")), 1, "does not belong to this program")
        self.assertEqual(contents(self.folder / "search"), before)
        self.check(self.call(*self.arguments(1), "--block", "search"), 0, "top-1")
        # And the other way round.
        before = contents(self.out)
        self.check(self.call(*search, "--out", "out"), 1, "out is neither empty nor a run folder")
        self.check(self.call("verify", "search", "--out", "out"), 1, "neither empty nor a run folder")
        self.assertEqual(contents(self.out), before)

    def test_a_second_process_is_refused_while_the_first_one_runs(self):
        process = self.begun(10_000)
        self.check(self.call(*self.arguments()), 1, "out already holds a training: continue it with --resume")
        resume = [COMMAND, "--out", "out", "--resume", "--data", "pictures"]
        self.check(self.call(*resume), 1, f"out is in use by process {process.pid}: wait for it or stop it")
        self.stop(process, signal.SIGTERM)
        self.assert_stopped()

    def test_of_simultaneous_starts_each_has_its_own_folder_or_is_refused(self):
        seeds = range(4)
        many = [start(*self.arguments(1, None, "--seed", seed), cwd=self.folder) for seed in seeds]
        for process in many:
            out, err = process.communicate(timeout=LIMIT)
            self.check((process.returncode, out, err), 0, "top-1")
        folders = sorted((self.folder / "blockqnn-runs").iterdir())
        self.assertEqual([folder.name for folder in folders], ["transfer", "transfer-2", "transfer-3", "transfer-4"])
        found = [json.loads((folder / "transfer.json").read_text())["seed"] for folder in folders]
        self.assertEqual(sorted(found), list(seeds))
        self.assertTrue(all((folder / "result.json").exists() for folder in folders))

        many = [start(*self.arguments(1, "out", "--seed", seed), cwd=self.folder) for seed in seeds]
        results = [(process, *process.communicate(timeout=LIMIT)) for process in many]
        codes = [process.returncode for process, _, _ in results]
        self.assertEqual(sorted(codes), [0, 1, 1, 1], results)
        self.assertEqual(json.loads((self.out / "transfer.json").read_text())["seed"], codes.index(0))
        self.assert_finished()

    def test_a_finished_training_that_is_resumed_says_so_and_stays_as_it_is(self):
        self.check(self.call(*self.arguments()), 0)
        before = contents(self.out)
        # As a batch system starts it again; even the pictures may be gone.
        shutil.rmtree(self.pictures)
        message = self.check(self.call(COMMAND, "--out", "out", "--resume"), 0, "is finished, and there is nothing to do")
        self.assertIn(f"top-1 {json.loads((self.out / 'result.json').read_text())['top_1']:.2f} %", message)
        self.assertEqual(contents(self.out), before)

    def test_other_pictures_of_equal_number_and_name_are_refused(self):
        self.stop(self.begun(10_000), signal.SIGTERM)
        before = contents(self.out, without=["lock"])
        for part, other in [("training", "train"), ("validation", "val")]:
            swapped = make_pictures(self.folder / part, shift=1)
            kept = "val" if other == "train" else "train"
            shutil.rmtree(swapped / kept)
            shutil.copytree(self.pictures / kept, swapped / kept)
            result = self.call(COMMAND, "--out", "out", "--resume", "--data", part)
            self.check(result, 1, f"the {part} images are not those that the training was started on")
        self.assertEqual(contents(self.out, without=["lock"]), before)
        # The same ones elsewhere are the same.
        moved = self.pictures.rename(self.folder / "moved")
        process = start(COMMAND, "--out", "out", "--resume", "--data", moved, cwd=self.folder)
        epochs = self.out / "epochs.csv"
        lines = len(epochs.read_text().splitlines())
        wait_for(lambda: len(epochs.read_text().splitlines()) > lines, process)
        self.stop(process, signal.SIGTERM)

    def test_a_folder_of_an_earlier_version_is_continued_and_a_finished_one_left_alone(self):
        golden = ROOT / "tests/golden/transfer-1"
        shutil.copytree(golden / "stopped", self.out)
        self.check(self.call(COMMAND, "--out", "out", "--resume", "--data", golden / "pictures"), 0, "top-1")
        self.assert_finished()
        self.assertEqual(len((self.out / "epochs.csv").read_text().splitlines()), 5)
        shutil.copytree(golden / "finished", self.folder / "finished")
        before = contents(self.folder / "finished")
        self.check(self.call(COMMAND, "--out", "finished", "--resume"), 0, "there is nothing to do")
        self.assertEqual(contents(self.folder / "finished"), before)


class Ends(TransferTest):
    def test_every_signal_leaves_a_checkpoint_and_the_advice_leads_to_the_same_end(self):
        weights = self.whole(200)
        for number in SIGNALS:
            with self.subTest(number):
                shutil.rmtree(self.out, ignore_errors=True)
                message = self.stop(self.begun(200), number)
                self.assert_stopped()
                self.check(self.call(*advised(message)), 0, "top-1")
                self.assert_finished(weights)

    def test_a_terminal_that_is_closed_stops_the_training_with_its_checkpoint(self):
        process, terminal = start_in_terminal(*self.arguments(10_000), cwd=self.folder)
        terminal.until((self.out / "checkpoint.safetensors").exists, process)
        terminal.close()
        self.assertEqual(process.wait(LIMIT), STOPPED)
        self.assert_stopped()

    def test_under_nohup_the_training_outlives_its_terminal(self):
        weights = self.whole(10)
        process, terminal = start_in_terminal(*self.arguments(10), cwd=self.folder, ignore_hang_up=True)
        terminal.until((self.out / "transfer.json").exists, process)
        terminal.close()
        self.assertEqual(process.wait(LIMIT), 0)
        self.assert_finished(weights)

    def test_closed_outputs_change_nothing_but_the_outputs(self):
        weights = self.whole(3)
        for number, way in enumerate([run_into_closed_pipe, run_without_outputs]):
            out = f"out{number}"
            self.assertEqual(way(*self.arguments(3, out), cwd=self.folder), 0)
            self.assertEqual((self.folder / out / "network.safetensors").read_bytes(), weights)
        # Results that do not fit where they should go are another matter.
        with open("/dev/full", "w", encoding="ascii") as full:
            result = self.call(*self.arguments(3), stdout=full)
        self.check((result[0], "", result[2]), 1, "cannot write to the standard output: No space left")
        self.assert_finished(weights)

    def test_a_full_disk_keeps_the_checkpoint_and_the_advice_leads_to_the_same_end(self):
        weights = self.whole(4)
        sizes = contents(self.folder / "whole")
        process = self.begun(10_000)
        self.stop(process, signal.SIGTERM)
        checkpoint = (self.out / "checkpoint.safetensors").stat().st_size
        shutil.rmtree(self.out)
        small = sum(len(sizes[name][0]) for name in ["block.json", "transfer.json"])
        # Room for the settings and one checkpoint, but not for the next one beside it.
        with small_disk(self.out, f"{(small + checkpoint) // 1024 + 4 * 5 + checkpoint // 2048}k"):
            message = self.check(self.call(*self.arguments(4)), 1, "cannot write out/", "No space left", "is kept")
            self.assertNotIn("Delete it", message)
            self.assert_stopped()
            remount(self.out, "size=10m")
            self.check(self.call(*advised(message)), 0, "top-1")
            self.assert_finished(weights)

    def test_a_checkpoint_that_cannot_be_read_is_named_and_the_advice_works(self):
        weights = self.whole(200)
        self.stop(self.begun(200), signal.SIGTERM)
        checkpoint = self.out / "checkpoint.safetensors"
        checkpoint.write_bytes(checkpoint.read_bytes()[:100])
        resume = [COMMAND, "--out", "out", "--resume", "--data", "pictures"]
        message = self.check(self.call(*resume), 1, "cannot use out/checkpoint.safetensors", "Delete it to start")
        self.assertNotIn("kept", message)
        checkpoint.unlink()
        self.check(self.call(*resume), 0)
        self.assert_finished(weights)

    def test_a_disk_that_is_read_only_is_named(self):
        with small_disk(self.folder / "disk", "1m"):
            remount(self.folder / "disk", "ro")
            self.check(self.call(*self.arguments(1, "disk/out")), 1, "disk/out", "Read-only file system")


if __name__ == "__main__":
    unittest.main()
