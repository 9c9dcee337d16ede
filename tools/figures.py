"""Makes the figures of the paper's experiments from the journals in docs/evidence, with `blockqnn report`.

    python3 tools/figures.py BLOCKQNN                  # all of them, in docs/pictures
    python3 tools/figures.py BLOCKQNN figure-7 --out FOLDER
    python3 tools/figures.py BLOCKQNN --check          # compares them with those in docs/pictures

BLOCKQNN is the program. Needs Python 3 alone.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import evidence

# By the figure of the paper: its name in the report, and the archives of its runs by the names they have there.
FIGURES = {
    "figure-3": (
        "comparison-learning",
        {
            "pre-activation cells": ["evening-paper"],
            "separate layers": ["evening-separate"],
            "separate layers, short schedule": ["evening-short"],
        },
    ),
    "figure-4": ("early-stop", {"separate": ["evening-separate", "evening-separate-long"]}),
    "figure-6": ("comparison-learning", {"Equation 2": ["evening-paper"], "MetaQNN's update": ["evening-terminal"]}),
    "figure-7": ("learning", {"paper": ["evening-paper"]}),
}


def make(program, name, out):
    """Writes a figure of the runs that are unpacked for it."""
    figure, runs = FIGURES[name]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for run, archives in runs.items():
            for archive in archives:
                evidence.unpack(archive, folder / run)
        report = [program, "report", *runs, "--out", "report.html", "--svg", "figures"]
        done = subprocess.run(report, cwd=folder, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(done.stderr)
        (out / f"{name}.svg").write_bytes((folder / "figures" / f"{figure}.svg").read_bytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"all by default: {', '.join(FIGURES)}")
    parser.add_argument("--out", type=pathlib.Path, default=evidence.EVIDENCE.parent / "pictures")
    parser.add_argument("--check", action="store_true", help="write nothing, and fail if a figure differs")
    given = parser.parse_intermixed_args()
    if unknown := set(given.figures) - set(FIGURES):
        parser.error(f"no figure is called {min(unknown)}: choose from {', '.join(FIGURES)}")
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) if given.check else given.out
        out.mkdir(parents=True, exist_ok=True)
        for name in given.figures or FIGURES:
            make(given.program, name, out)
            kept = given.out / f"{name}.svg"
            made = (out / f"{name}.svg").read_bytes()
            if given.check and not (kept.exists() and kept.read_bytes() == made):
                sys.exit(f"error: {kept} is not what `tools/figures.py` makes: make it again, and read its page")
            print(f"{kept}: {'the same' if given.check else 'written'}")


if __name__ == "__main__":
    main()
