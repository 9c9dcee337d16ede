"""The figures and tables in the documentation are those that are made of the journals beside them."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

from programs import PROGRAM, ROOT


class Evidence(unittest.TestCase):
    def test_the_figures_are_made_from_the_journals(self):
        command = [sys.executable, "-B", ROOT / "tools/figures.py", PROGRAM, "--check"]
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_the_tables_of_the_evening_are_made_from_the_journals(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            searches = ["paper", "terminal", "separate", "short"]
            for search in searches:
                tool("evidence.py", "unpack", f"evening-{search}", folder / search)
            tool("evidence.py", "unpack", "evening-agents", folder)
            agents = [f"{agent}-{seed}" for agent in ["best", "evolution"] for seed in range(3)]
            tables = tool("stages.py", *[folder / search for search in searches])
            tables += tool("evaluations.py", *[folder / run for run in ["paper", "paper", *agents]])
        page = (ROOT / "docs/evidence/evening.md").read_text().splitlines()
        rows = [row for row in tables.splitlines() if row.startswith("| ")]
        self.assertEqual([row for row in rows if row not in page], [])
        self.assertEqual(len(rows), 5 * 12)


def tool(name, *arguments):
    """What one of the tools prints."""
    command = [sys.executable, "-B", ROOT / "tools" / name, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
