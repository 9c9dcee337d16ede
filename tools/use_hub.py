"""Uses a folder for a model hub as its card says, elsewhere: all ways to load the network must agree on the pictures.

    use_hub.py FOLDER --card PROGRAM [--torch PYTHON] [--onnxruntime PYTHON] PICTURE...

PROGRAM is built from tests/consumer/src/bin/card.rs, which must be the Rust program on the card. The Python programs on
the card are run as they stand there, by the Python that has what they import.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Of probabilities: decoders of JPEG differ in the last bit, and ONNX files have batch normalisation merged.
TOLERANCE = 0.01


def said(command, folder):
    """The class and its probability, as a program prints them."""
    output = subprocess.run([str(word) for word in command], cwd=folder, capture_output=True, text=True, check=False)
    if output.returncode != 0:
        sys.exit(f"error: {command} ended with {output.returncode}\n{output.stderr}")
    name, probability = output.stdout.strip().rsplit(" ", 1)
    return name, float(probability)


def programs(arguments, card):
    """The ways to load the network by name: the Python programs of the card, and the Rust program built from it."""
    blocks = re.findall(r"```(\w+)\n(.*?)```", card, re.S)
    rust = [text for language, text in blocks if language == "rust"]
    built = (ROOT / "tests/consumer/src/bin/card.rs").read_text()
    if rust != [built]:
        sys.exit("error: tests/consumer/src/bin/card.rs is not the Rust program on the card")
    found = {"Rust": [arguments.card.resolve()]}
    for library, python in [("torch", arguments.torch), ("onnxruntime", arguments.onnxruntime)]:
        texts = [text for language, text in blocks if language == "python" and f"import {library}\n" in text]
        if len(texts) != 1:
            sys.exit(f"error: the card has {len(texts)} programs with {library}")
        if python:
            # Absolute, and not resolved: a virtual environment is known by its link.
            found[library] = [pathlib.Path(python).absolute(), "-c", texts[0]]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("pictures", type=pathlib.Path, nargs="+")
    parser.add_argument("--card", type=pathlib.Path, required=True)
    parser.add_argument("--torch")
    parser.add_argument("--onnxruntime")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hub-") as place:
        elsewhere = pathlib.Path(place, "model")
        shutil.copytree(arguments.folder, elsewhere)
        ways = programs(arguments, (elsewhere / "README.md").read_text(encoding="utf-8"))
        for picture in arguments.pictures:
            shutil.copy(picture, elsewhere / "picture.jpg")
            results = {way: said(command, elsewhere) for way, command in ways.items()}
            print(picture.name, results, flush=True)
            names, probabilities = zip(*results.values())
            if len(set(names)) > 1 or max(probabilities) - min(probabilities) > TOLERANCE:
                sys.exit("error: they do not agree")
    print(f"{', '.join(ways)} agree on {len(arguments.pictures)} pictures")


if __name__ == "__main__":
    main()
