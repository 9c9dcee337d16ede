"""The figures in the documentation are those that the program makes of the journals beside them."""

import subprocess
import sys
import unittest

from programs import PROGRAM, ROOT


class Evidence(unittest.TestCase):
    def test_the_figures_are_made_from_the_journals(self):
        command = [sys.executable, "-B", ROOT / "tools/figures.py", PROGRAM, "--check"]
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
