"""Commands that print and write single files: a file is whole or untouched, and a closed output is no error."""

import csv
import itertools
import json
import os
import shutil
import signal
import unittest

from programs import (
    ProgramTest,
    contents,
    make_pictures,
    run,
    run_into_closed_pipe,
    run_without_outputs,
    small_disk,
    start,
    temporary_files,
)

COMPARISON = ["compare", "--synthetic", "hidden:1", "--budgets", 10, "--seeds", 2, "--agent", "random"]


class OutputTest(ProgramTest):
    def call(self, *arguments, **options):
        return run(*arguments, cwd=self.folder, **options)

    def make_search(self):
        search = ["--trials", 2, "--minibatch", 2, "--epochs", 1, "--train-limit", 40, "--validation", 20, "--out", "run"]
        self.check(self.call("search", *search), 0)

    def make_transfer(self):
        make_pictures(self.folder / "pictures")
        sizes = ["--epochs", 1, "--size", 16, "--width", 2, "--batch-size", 8]
        self.check(self.call("transfer", "--data", "pictures", *sizes, "--out", "large"), 0)


class Prints(OutputTest):
    def test_commands_that_only_print_end_quietly_when_nobody_reads(self):
        self.make_search()
        self.make_transfer()
        self.check(self.call("verify", "run", "--top", 2, "--epochs", 1, "--batch-size", 20), 0)
        for arguments in [
            ["search", "--dry-run"],
            ["export", "run", "--to", "pytorch"],
            ["export", "run", "--to", "json", "--out", "-"],
            [*COMPARISON],
            ["plan", "run", "--workers", 4],
            ["completions", "bash"],
            ["classify", "large/network.safetensors", "pictures/val"],
        ]:
            with self.subTest(arguments):
                self.check(self.call(*arguments), 0)
                self.assertEqual(run_into_closed_pipe(*arguments, cwd=self.folder), 0)
                self.assertEqual(run_without_outputs(*arguments, cwd=self.folder), 0)
                # A reader that goes before anything is printed.
                reader, writer = os.pipe()
                os.close(reader)
                code, _, err = self.call(*arguments, stdout=writer)
                os.close(writer)
                self.check((code, "", err), 0)
                self.assertNotIn("error", err)
                with open("/dev/full", "w", encoding="ascii") as full:
                    code, _, err = self.call(*arguments, stdout=full)
                self.check((code, "", err), 1, "cannot write to the standard output: No space left")

    def test_calibrate_ends_quietly_when_nobody_reads(self):
        rows = [f"{number},{50 + number % 7},{60 + number % 11},{1000 + 37 * number},1.5" for number in range(40)]
        table = self.folder / "table.csv"
        table.write_text("\n".join(["architecture,accuracy,final_accuracy,flops,density", *rows]) + "\n")
        arguments = ["calibrate", "--table", "table.csv", "--top", 10]
        self.check(self.call(*arguments), 0, "recommended:")
        self.check(self.call(*arguments, "--formula", "flops=-2"), 0, "| accuracy - 2 ln(FLOPs) |")
        self.check(self.call(*arguments, "--formula", "flop=2"), 2, "such as flops=2,density=-0.5")
        self.assertEqual(run_into_closed_pipe(*arguments, cwd=self.folder), 0)
        self.assertEqual(run_without_outputs(*arguments, cwd=self.folder), 0)


class Exports(OutputTest):
    def test_weights_exported_onto_themselves_stay(self):
        self.make_transfer()
        weights = self.folder / "large/network.safetensors"
        (self.folder / "link").symlink_to(weights)
        os.link(weights, self.folder / "hard")
        before = contents(self.folder / "large")
        for out in [weights, "link", "hard", "large/../large/network.safetensors"]:
            result = self.call("export", "large", "--to", "safetensors", "--out", out)
            self.check(result, 0, "nothing to do")
        for out in ["large/network.safetensors", "link", "large/block.json", "large/transfer.json"]:
            result = self.call("export", "large", "--to", "pytorch", "--out", out)
            self.check(result, 1, "is a file that its folder needs: name another file")
        self.assertEqual(contents(self.folder / "large"), before)
        # Through a link to elsewhere.
        (self.folder / "elsewhere").symlink_to("there.safetensors")
        result = self.call("export", "large", "--to", "safetensors", "--out", "elsewhere")
        self.check(result, 0, "copied large/network.safetensors to elsewhere")
        self.assertTrue((self.folder / "elsewhere").is_symlink())
        self.assertEqual((self.folder / "there.safetensors").read_bytes(), weights.read_bytes())

    def test_a_run_is_not_replaced_by_what_is_exported_of_it(self):
        self.make_search()
        before = contents(self.folder / "run")
        for out in ["run/search.json", "run/journal.jsonl", "run/checkpoint"]:
            result = self.call("export", "run", "--to", "json", "--out", out)
            self.check(result, 1, "name another file")
        self.assertEqual(contents(self.folder / "run"), before)
        self.check(self.call("export", "run", "--to", "json", "--out", "bare.json"), 0, "bare.json")
        json.loads((self.folder / "bare.json").read_text())

    def test_a_full_disk_keeps_the_file_that_was_there(self):
        self.make_transfer()
        with small_disk(self.folder / "disk", "16k") as disk:
            for form, name in [("safetensors", "weights"), ("pytorch", "block.py")]:
                out = disk / name
                out.write_text("good")
                (disk / "full").write_bytes(b"x" * 4096 * 3)
                result = self.call("export", "large", "--to", form, "--out", f"disk/{name}")
                self.check(result, 1, f"disk/{name}", "No space left")
                self.assertEqual((out.read_text(), temporary_files(disk)), ("good", []))
                out.unlink()

    def test_a_folder_for_a_model_hub_is_whole_or_not_there(self):
        self.make_transfer()
        files = ["README.md", "block.svg", "config.json", "model.onnx", "model.py", "model.safetensors"]
        hub = ["export", "large", "--to", "hub", "--out"]
        self.check(self.call(*hub, "model"), 0, "nothing was uploaded")
        self.assertEqual(sorted(contents(self.folder / "model")), files)
        weights = self.folder / "large/network.safetensors"
        self.assertEqual((self.folder / "model/model.safetensors").read_bytes(), weights.read_bytes())
        card = (self.folder / "model/README.md").read_text()
        top = json.loads((self.folder / "large/result.json").read_text())["top_1"]
        self.assertIn(f"| top-1 accuracy | {top:.2f} % | these weights, after 1 epoch on", card)
        # What is there stays, and so does what belongs to somebody else.
        before = contents(self.folder / "model")
        self.check(self.call(*hub, "model"), 1, "model contains README.md, which does not belong to this program")
        self.check(self.call(*hub, "pictures"), 1, "choose another folder")
        self.check(self.call(*hub, "-"), 1, "--out")
        self.assertEqual(contents(self.folder / "model"), before)
        # Nothing is known of weights alone.
        self.check(self.call("export", weights, "--to", "hub", "--out", "alone"), 0)
        self.assertIn("None are known", (self.folder / "alone/README.md").read_text())
        self.check(self.call("export", weights, "--rank", 2, "--to", "hub", "--out", "second"), 1, "omit --rank")
        with small_disk(self.folder / "disk", "16k") as disk:
            self.check(self.call(*hub, "disk/model"), 1, "disk/model", "No space left")
            self.assertEqual([path for path in disk.iterdir() if path.name != "lost+found"], [])

    def test_read_only_files_and_folders_are_named(self):
        self.make_transfer()
        out = self.folder / "protected.py"
        out.write_text("good")
        out.chmod(0o444)
        export = ["export", "large", "--to", "pytorch", "--out"]
        self.check(self.call(*export, "protected.py"), 1, "cannot write protected.py: the file is write-protected")
        self.check(self.call(*export, "missing/block.py"), 1, "cannot write missing/block.py: No such file or directory")
        self.check(self.call(*export, "large"), 1, "cannot write large: it is a folder, not a file")
        self.assertEqual(out.read_text(), "good")


class Classifications(OutputTest):
    def test_every_picture_is_classified_and_what_is_none_is_named(self):
        self.make_transfer()
        val = self.folder / "pictures/val"
        classify = ["classify", "large/network.safetensors"]
        result = self.call(*classify, "pictures/val", "--top", 2, "--csv", "found.csv")
        self.check(result, 0, "% of 40 images were classified as the class of their folder")
        table = result[1].splitlines()
        self.assertEqual(len(table), 41)
        self.assertTrue(all("dark" in line and "light" in line for line in table[:40]))
        rows = (self.folder / "found.csv").read_text().splitlines()
        self.assertEqual((rows[0], len(rows)), ("file,class_1,probability_1,class_2,probability_2", 41))
        # A file is classified as it is in its folder.
        single = self.call(*classify, "pictures/val/dark/00.png", "--top", 2)
        self.assertEqual(single[1].splitlines()[0].split(), table[0].split())
        # One that cannot be read does not stop the others, and without any the status is not 0.
        (val / "dark/00.png").write_text("words")
        result = self.check(self.call(*classify, "pictures/val", "missing.png"), 0, "missing.png", "2 of 41 files")
        self.assertIn("pictures/val/dark/00.png is broken", result)
        self.check(self.call(*classify, "missing.png"), 1, "missing.png", "1 of 1 files could not be classified")
        self.check(self.call(*classify, "pictures/val", "--csv", "large/network.safetensors"), 1, "name another file")

    def test_each_line_is_printed_at_once_and_a_signal_keeps_what_is_classified(self):
        self.make_transfer()
        many = ["pictures/val"] * 2000
        process = start("classify", "large/network.safetensors", *many, "--csv", "found.csv", cwd=self.folder)
        first = process.stdout.readline()
        self.assertIn("pictures/val/dark/00.png", first)
        message = self.stop(process, signal.SIGINT)
        rows = (self.folder / "found.csv").read_text().splitlines()
        self.assertIn("of 80000 files", message)
        self.assertTrue(2 <= len(rows) < 80001, len(rows))
        self.assertTrue(rows[1].startswith("pictures/val/dark/00.png,"), rows[1])


class Comparisons(OutputTest):
    def test_files_are_complete_whoever_reads_the_table(self):
        for number, way in enumerate([run_into_closed_pipe, run_without_outputs]):
            results, curve = f"{number}.csv", f"{number}.svg"
            self.assertEqual(way(*COMPARISON, "--csv", results, "--svg", curve, cwd=self.folder), 0)
            self.assertEqual(len((self.folder / results).read_text().splitlines()), 3)
            self.assertIn("</svg>", (self.folder / curve).read_text())

    def test_files_that_cannot_be_written_or_are_read_are_refused_before_the_work(self):
        (self.folder / "a.csv").write_text("good")
        for arguments, text in [
            (["--csv", "missing/a.csv"], "cannot write missing/a.csv: No such file or directory"),
            (["--csv", "a.csv", "--svg", "./a.csv"], "--csv and --svg are both a.csv: name two files"),
        ]:
            message = self.check(self.call(*COMPARISON, *arguments), 1, text)
            self.assertNotIn("took", message)
        self.assertEqual((self.folder / "a.csv").read_text(), "good")
        self.assertEqual([path.name for path in self.folder.iterdir()], ["a.csv"])

    def test_a_full_disk_keeps_the_file_that_was_there_and_the_table_is_printed(self):
        with small_disk(self.folder / "disk", "12k") as disk:
            (disk / "a.csv").write_text("good")
            (disk / "full").write_bytes(b"x" * 4096 * 1)
            arguments = ["--seeds", 200, "--csv", "disk/a.csv"]
            result = self.call(*COMPARISON[:5], *COMPARISON[7:], *arguments)
            self.check(result, 1, "cannot write disk/a.csv: No space left", "took")
            self.assertEqual(((disk / "a.csv").read_text(), temporary_files(disk)), ("good", []))

    def make_table(self, name, columns):
        """A table of all cells of NAS-Bench-201: the more 3x3 convolutions, the higher is every column."""
        operations = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
        rows = [",".join(["architecture", *columns])]
        for of in itertools.product(operations, repeat=6):
            edges = [[f"{of[0]}~0"], [f"{of[1]}~0", f"{of[2]}~1"], [f"{of[3]}~0", f"{of[4]}~1", f"{of[5]}~2"]]
            cell = "+".join(f"|{'|'.join(edge)}|" for edge in edges)
            good = of.count("nor_conv_3x3")
            rows.append(",".join([cell, *(str(40 + 2 * place + good) for place in range(len(columns)))]))
        (self.folder / name).write_text("\n".join(rows) + "\n")

    def rows(self, name):
        with (self.folder / name).open(newline="") as file:
            return list(csv.DictReader(file))

    def test_agents_with_and_without_rungs_spend_the_same_epochs(self):
        self.make_table("table.csv", ["accuracy_9ep", "accuracy_3ep", "final_accuracy"])
        agents = ["random", "random@3,9", "hyperband", "best@3,9", "evolution@9"]
        named = [word for agent in agents for word in ["--agent", agent]]
        arguments = ["compare", "--table", "table.csv", "--seeds", 2, "--budgets", "60e,90e", *named]
        self.check(self.call(*arguments, "--csv", "a.csv", "--svg", "a.svg"), 0, "| hyperband ", "90e")
        rows = self.rows("a.csv")
        self.assertEqual(len(rows), len(agents) * 2 * 2)
        for row in rows:
            budget = int(row["budget"].removesuffix("e"))
            self.assertTrue(budget - 9 < int(row["epochs"]) <= budget, row)
        self.assertIn("epochs", (self.folder / "a.svg").read_text())
        # A promotion of separate trainings takes 9 epochs in place of 6, so there are fewer evaluations.
        self.check(self.call(*arguments, "--separate-trainings", "--csv", "b.csv"), 0)
        again = self.rows("b.csv")
        halving = [[row for row in table if row["agent"] == "random@3,9"] for table in (rows, again)]
        count = [sum(int(row["evaluations"]) for row in table) for table in halving]
        self.assertGreater(count[0], count[1])
        for extra, text in [
            (["--budgets", "20"], "give budgets in epochs such as 4800e (option --budgets)"),
            (["--agent", "best@4"], "has no accuracies after 4 epochs: it has some after 3, 9"),
            (["--promote-one-in", 1], "search.rungs.one_in is 1: it must be at least 2 (option --promote-one-in)"),
        ]:
            given = [*arguments, *extra] if "--budgets" not in extra else [*arguments[:5], *extra, *named]
            self.check(self.call(*given), 1, text)

    def test_a_table_with_a_missing_accuracy_is_refused_with_file_line_and_fix(self):
        (self.folder / "table.csv").write_text("architecture,accuracy_3ep,accuracy_9ep\na,1,\n")
        result = self.call("compare", "--table", "table.csv", "--budgets", "60e")
        self.check(result, 1, "table table.csv, line 2: it has 1 of 2 accuracies, but no accuracy_9ep: give it")


if __name__ == "__main__":
    unittest.main()
