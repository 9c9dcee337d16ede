"""Packs the journals of long runs for docs/evidence, and unpacks them, to make their figures again or to continue them.

    python3 tools/evidence.py pack NAME FOLDER     # FOLDER with run folders in it -> docs/evidence/NAME.tar.xz
    python3 tools/evidence.py unpack NAME FOLDER
    python3 tools/evidence.py check                # every archive against docs/evidence/SHA256SUMS

Weights and checkpoints are left out: a search continues without them, and trains anew what it had begun. The same files
give the same archive. Needs Python 3 alone.
"""

import argparse
import hashlib
import pathlib
import sys
import tarfile

EVIDENCE = pathlib.Path(__file__).resolve().parent.parent / "docs" / "evidence"
SUMS = EVIDENCE / "SHA256SUMS"
# Where the images are is a matter of one machine.
LEFT_OUT = {"checkpoint", "checkpoints", "data_folder", "lock", "networks", "report"}


def kept(path):
    return not LEFT_OUT & set(path.parts) and path.suffix != ".safetensors"


def anonymous(entry):
    """Without owner and time, which would change the archive and not what it says."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def pack(name, folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file() and kept(path.relative_to(folder)))
    if not files:
        sys.exit(f"error: {folder} has no files to pack")
    EVIDENCE.mkdir(exist_ok=True)
    archive = EVIDENCE / f"{name}.tar.xz"
    with tarfile.open(archive, "w:xz", preset=9) as packed:
        for path in files:
            packed.add(path, path.relative_to(folder), filter=anonymous)
    sums = {**read_sums(), archive.name: digest(archive)}
    SUMS.write_text("".join(f"{sums[name]}  {name}\n" for name in sorted(sums)))
    print(f"{archive}: {len(files)} files, {archive.stat().st_size} bytes")


def unpack(name, folder):
    check_one(f"{name}.tar.xz")
    with tarfile.open(EVIDENCE / f"{name}.tar.xz") as packed:
        there = [member.name for member in packed if member.isfile() and (folder / member.name).exists()]
        if there:
            sys.exit(f"error: {folder / there[0]} exists, and may be further than the archive: unpack into a new folder")
        packed.extractall(folder, filter="data")


def read_sums():
    return {line.split()[1]: line.split()[0] for line in SUMS.read_text().splitlines()} if SUMS.exists() else {}


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_one(name):
    path = EVIDENCE / name
    expected = read_sums().get(name)
    if not path.exists():
        sys.exit(f"error: {path} does not exist")
    if digest(path) != expected:
        sys.exit(f"error: {path} is not what {SUMS} says: pack it again, or restore it")


def check():
    archives = {path.name for path in EVIDENCE.glob("*.tar.xz")}
    for name in sorted(archives | set(read_sums())):
        check_one(name)
    print(f"{len(archives)} archives are what {SUMS.name} says")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for command in ("pack", "unpack"):
        one = commands.add_parser(command)
        one.add_argument("name")
        one.add_argument("folder", type=pathlib.Path)
    commands.add_parser("check")
    given = parser.parse_args()
    if given.command == "check":
        check()
    else:
        {"pack": pack, "unpack": unpack}[given.command](given.name, given.folder)


if __name__ == "__main__":
    main()
