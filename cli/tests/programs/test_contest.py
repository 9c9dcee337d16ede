"""`contest`: blocks at equal cost, and a table that does not depend on interruptions."""

import csv
import signal
import unittest

from programs import ProgramTest, make_pictures, run, start, wait_for


class ContestTest(ProgramTest):
    def call(self, *arguments):
        return run(*arguments, cwd=self.folder)

    def contest(self, *more, out="contest", repetitions=2):
        size = ["--width", 4, "--epochs", 2, "--train-limit", 100, "--batch-size", 20, "--repetitions", repetitions]
        return ["contest", "resnet-basic", "conv3(0) terminal(1)", "mobilenet-v2", *size, "--out", out, *more]

    def rows(self, name, out="contest"):
        return list(csv.DictReader((self.folder / out / name).read_text().splitlines()))

    def test_costs_are_equal_and_errors_name_what_would_do(self):
        code, out, err = self.call(*self.contest("--dry-run"))
        self.check((code, out, err), 0)
        flops = [int(line.split()[2]) for line in out.splitlines()[1:]]
        self.assertEqual(len(flops), 3)
        self.assertLess(max(flops) / min(flops), 1.05 / 0.95)
        message = self.check(self.call(*self.contest("--flops", 300000, "--dry-run")), 1, "contest.flops is 300000")
        reached = message.split("all blocks reach ")[1].split()[0]
        self.check(self.call(*self.contest("--flops", reached, "--dry-run")), 0)
        twice = self.call("contest", "resnet-basic", "resnet-basic", "--dry-run")
        self.check(twice, 1, "the name of one entrant alone")
        self.check(self.call("contest", "resnet", "--dry-run"), 1, "BLOCK: \"resnet\" is neither a run folder")
        unused = ["agent=best", "data.validation=9", "recipe.restarts.max=1", "search.network.widths=growing"]
        unused += ['recipe={"restarts":{"max":3}}', "search.network.classes=7", "search.network.image.height=9"]
        for setting in unused:
            self.check(self.call(*self.contest("--set", setting)), 1, f"--set {setting} would not be used")
        for setting in ["data.missing_files=allow", "data.broken_images=skip"]:
            self.check(self.call(*self.contest("--set", setting)), 1, f"{setting.split('=')[0]} is only for --dataset")
        self.check(self.call(*self.contest("--validation", 10)), 1, "--validation would not be used")

    def test_what_failed_is_told_and_a_block_without_a_result_is_an_error(self):
        diverges = self.call(*self.contest("--set", "recipe.learning_rate=1e30"))
        message = self.check(diverges, 1, "warning: 2 of 2 trainings of resnet-basic failed: ")
        self.assertIn("training diverged in epoch 1", message)
        self.assertEqual([row["failed"] for row in self.rows("contest.csv")], ["2", "2", "2"])

    def test_what_no_network_depends_on_may_change(self):
        short = ["--epochs", 1, "--train-limit", 20, "--repetitions", 1, "--out", "contest"]
        contest = ["contest", "resnet-basic", "--flops", 2000000, *short]
        self.check(self.call(*contest, "--width", 4), 0)
        self.check(self.call(*contest, "--width", 5), 0, "continuing in contest")

    def test_images_of_a_folder_have_32_pixels_unless_another_size_is_given(self):
        make_pictures(self.folder / "pictures")
        contest = ["contest", "resnet-basic", "--dataset", "folder", "--data", "pictures", "--dry-run"]
        default = self.check(self.call(*contest), 0)
        self.assertEqual(default, self.check(self.call(*contest, "--size", 32), 0))
        self.assertNotEqual(default, self.check(self.call(*contest, "--size", 16), 0))

    def test_more_repetitions_than_can_be_listed_are_refused(self):
        for repetitions in [1001, 2**64 - 1]:
            expected = f"contest.repetitions is {repetitions}: it must be from 1 to 1000 (option --repetitions)"
            self.check(self.call(*self.contest(repetitions=repetitions)), 1, expected)

    def test_ranks_of_a_run_take_part(self):
        images = ["--train-limit", 40, "--validation", 20, "--width", 2]
        self.check(self.call("search", "--trials", 3, "--minibatch", 3, "--epochs", 1, *images, "--out", "run"), 0)
        code, out, err = self.call("contest", "run", "run#2", "run#median", "--width", 16, "--dry-run")
        self.check((code, out, err), 0)
        names = [line.split(None, 3)[3] for line in out.splitlines()[1:]]
        self.assertEqual([name.split(": ")[0] for name in names], ["run", "run#2", "run#median"])
        self.assertEqual(names[1].split(": ")[1], names[2].split(": ")[1], "the second of three is in the middle")
        self.check(self.call("contest", "run#4", "--dry-run"), 1, "has no rank 4: 3 blocks of it were measured")
        self.check(self.call("contest", "run#0", "--dry-run"), 1, "#0 is no rank")

    def test_a_killed_contest_ends_as_one_that_was_not(self):
        self.check(self.call(*self.contest()), 0, "mobilenet-v2")
        process = start(*self.contest(out="killed"), cwd=self.folder)
        journal = self.folder / "killed" / "journal.jsonl"
        wait_for(lambda: journal.exists() and journal.read_text().count("\n") > 3, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.check(self.call(*self.contest("--workers", 2, out="killed")), 0, "continuing in killed")
        self.assertEqual(self.rows("contest.csv"), self.rows("contest.csv", "killed"))
        self.assertEqual([row["trainings"] for row in self.rows("contest.csv")], ["2", "2", "2"])
        self.assertTrue((self.folder / "contest" / "accuracy-parameters.svg").exists())
        networks = list((self.folder / "killed" / "networks").glob("*/network.safetensors"))
        self.assertEqual(len(networks), 6)
        self.assertEqual(list((self.folder / "killed" / "networks").glob("*/checkpoint.safetensors")), [])
        # More repetitions of the same contest.
        self.check(self.call(*self.contest(out="killed", repetitions=3)), 0)
        self.assertEqual([row["trainings"] for row in self.rows("contest.csv", "killed")], ["3", "3", "3"])


if __name__ == "__main__":
    unittest.main()
