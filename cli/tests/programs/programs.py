"""What the tests of the program share: starting it, with and without a terminal, and small data to start it on.

`BLOCKQNN_PROGRAMS` names the folder with the built program; without it that is `target/debug`.
"""

import contextlib
import fcntl
import os
import pathlib
import pty
import re
import select
import shlex
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import time
import unittest
import zlib

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROGRAM = pathlib.Path(os.environ.get("BLOCKQNN_PROGRAMS", ROOT / "target/debug")).resolve() / "blockqnn"
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
STOPPED = 130
# Nothing here takes long; only a hang exceeds it.
LIMIT = 300


def command(*arguments):
    return [str(PROGRAM), *(str(argument) for argument in arguments)]


def defaults(*, ignore_hang_up=False):
    """In a child: signals as a shell starts it with, whatever this process has; SIGHUP ignored as `nohup` does."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    if ignore_hang_up:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def start(*arguments, cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options):
    return subprocess.Popen(
        command(*arguments), cwd=cwd, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, preexec_fn=defaults, text=True, **options
    )


def run(*arguments, cwd, **options):
    """The exit status, the standard output and the standard error of a program."""
    process = start(*arguments, cwd=cwd, **options)
    out, err = process.communicate(timeout=LIMIT)
    return process.returncode, out, err


def start_in_terminal(*arguments, cwd, ignore_hang_up=False):
    """A program in a terminal of its own, and the other side of the terminal: closing it hangs up."""
    ours, theirs = pty.openpty()

    def prepare():
        defaults(ignore_hang_up=ignore_hang_up)
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(command(*arguments), cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=prepare)
    os.close(theirs)
    return process, Terminal(ours)


class Terminal:
    """The other side of a program's terminal. Closing it hangs up."""

    def __init__(self, file):
        self.file = file

    def until(self, condition, process):
        """Reads what the program says, so that it never waits, until a condition holds."""

        def read_and_ask():
            while select.select([self.file], [], [], 0)[0]:
                os.read(self.file, 4096)
            return condition()

        # Its first words, so that it has the terminal and uses it.
        os.read(self.file, 100)
        wait_for(read_and_ask, process)

    def close(self):
        os.close(self.file)


def run_into_closed_pipe(*arguments, cwd):
    """The exit status with both outputs in a pipe whose reader takes one line and goes, as with `2>&1 | head -1`."""
    reader, writer = os.pipe()
    process = start(*arguments, cwd=cwd, stdout=writer, stderr=writer)
    os.close(writer)
    os.read(reader, 1)
    os.close(reader)
    return process.wait(LIMIT)


def run_without_outputs(*arguments, cwd):
    """The exit status with closed standard output and standard error, as with `>&- 2>&-`."""
    text = shlex.join(command(*arguments)) + " >&- 2>&-"
    return subprocess.run(["sh", "-c", text], cwd=cwd, timeout=LIMIT, stdin=subprocess.DEVNULL, check=False).returncode


def wait_for(condition, process=None):
    """Until a condition holds; a program that ends before says why."""
    for _ in range(LIMIT * 50):
        if condition():
            return
        if process is not None and process.poll() is not None:
            raise AssertionError(f"ended with {process.returncode} before")
        time.sleep(0.02)
    raise AssertionError("it takes too long")


def contents(folder, *, without=()):
    """Every file below a folder with its bytes and its time."""
    files = (path for path in sorted(pathlib.Path(folder).rglob("*")) if path.is_file() and path.name not in without)
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def temporary_files(folder):
    return [path.name for path in pathlib.Path(folder).rglob(".blockqnn-*")]


def png(shade, side=16):
    """A gray square with a darker middle."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = bytes([0]) + bytes(shade if 4 <= x < 12 else shade // 2 for x in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * side)) + chunk(b"IEND", b"")


def make_pictures(folder, shift=0, count=20):
    """Two classes, `train` and `val`; another `shift` makes other pictures of equal number and names."""
    for part in ["train", "val"]:
        for name, shade in [("dark", 10), ("light", 150)]:
            place = pathlib.Path(folder) / part / name
            place.mkdir(parents=True)
            for number in range(count):
                (place / f"{number:02}.png").write_bytes(png(shade + 4 * number + shift))
    return pathlib.Path(folder)


@contextlib.contextmanager
def small_disk(folder, size):
    """A file system of a few kilobytes at a new folder. It needs root; without, the test is skipped, saying so."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode != 0:
        raise unittest.SkipTest("mounting a small tmpfs needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def remount(disk, option):
    subprocess.run(["mount", "-o", f"remount,{option}", disk], check=True)


def advised(message):
    """The arguments of the command that a message advises to continue with."""
    found = re.search(r"continue with blockqnn (.*)", message)
    if found is None:
        raise AssertionError(f"no advice in: {message}")
    return shlex.split(found[1])


class ProgramTest(unittest.TestCase):
    """A test with a folder of its own, in which a message never speaks of a panic."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="blockqnn-programs-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def check(self, result, status, *texts):
        code, out, err = result
        self.assertEqual(code, status, err)
        self.assertNotIn("panicked", err)
        for text in texts:
            self.assertIn(text, out + err)
        return out + err

    def stop(self, process, number):
        """Sends a signal and returns what the program said."""
        process.send_signal(number)
        out, err = process.communicate(timeout=LIMIT)
        return self.check((process.returncode, out, err), STOPPED)
