"""What the stages share: the programs, the images, the device, the time that is left, and tables."""

import contextlib
import ctypes
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))

# What differs between a card, the CPU, where each stage is to take seconds, and a software GPU, which compiles kernels
# for minutes. A search on a card is the paper's in all but the number of images and blocks.
CARD = {
    "minutes": 7,
    "processes": 4,
    "precision": "bf16",
    "parity": ["--preset", "paper", "--repeats", "1", "--width", "16", "--batch-size", "32", "--random", "6"],
    "steps": ["--preset", "paper"],
    "batch": 256,
    "precisions": ["f32", "bf16"],
    "rounds": 5,
    "round_seconds": 2.0,
    "search": ["--preset", "paper", "--trials", "128", "--minibatch", "16", "--epochs", "12"],
    "validation": "1000",
    "memory": ["--preset", "paper", "--repeats", "1", "--batch-size", "128", "--networks", "300", "--steps", "4"],
    "long": ["--recipe", "cifar", "--checkpoint-every", "5"],
    "agreement": 16,
    "worker_signal": signal.SIGKILL,
}
SMALL = {
    "minutes": 2,
    "processes": 2,
    "precision": "f32",
    "parity": ["--preset", "quick", "--batch-size", "8", "--random", "2"],
    "steps": ["--preset", "quick"],
    "batch": 16,
    "precisions": ["f32", "bf16"],
    "rounds": 2,
    "round_seconds": 0.3,
    "search": ["--preset", "quick", "--trials", "4", "--minibatch", "2", "--epochs", "1", "--train-limit", "200"],
    "validation": "100",
    "memory": ["--preset", "quick", "--batch-size", "16", "--networks", "12", "--steps", "2"],
    "long": ["--recipe", "early-stop", "--epochs", "3", "--checkpoint-every", "1"],
    "agreement": 8,
    # A worker that is killed keeps its block for a minute.
    "worker_signal": signal.SIGTERM,
}
SOFTWARE = {
    **SMALL,
    "minutes": 60,
    "parity": ["--preset", "quick", "--batch-size", "8", "--random", "6"],
    "search": ["--preset", "quick", "--trials", "8", "--minibatch", "4", "--epochs", "1", "--train-limit", "200"],
    "memory": ["--preset", "quick", "--batch-size", "16", "--networks", "100", "--steps", "2"],
    "agreement": 16,
    "worker_signal": signal.SIGKILL,
}


class Failure(Exception):
    """What stands in the way, and what to do about it, in one line."""


def no_card():
    """Why there is no NVIDIA card to compute on; None if there is one."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver (libcuda.so.1 is not there)"
    status = driver.cuInit(0)
    if status:
        return f"the NVIDIA driver finds no card that works (cuInit: error {status})"
    count = ctypes.c_int(0)
    driver.cuDeviceGetCount(ctypes.byref(count))
    return None if count.value else "the NVIDIA driver knows of no card"


def smi(query):
    """The answers of nvidia-smi, a list for each card; none if it is not there."""
    try:
        command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"]
        text = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [[field.strip() for field in line.split(",")] for line in text.splitlines() if line.strip()]


def vulkan():
    """The devices of Vulkan with their drivers, as vulkaninfo names them; none if it is not there."""
    try:
        command = ["vulkaninfo", "--summary"]
        text = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    names, drivers = (re.findall(rf"{field}\s*= (.*)", text) for field in ("deviceName", "driverInfo"))
    return [{"name": name, "driver_version": driver} for name, driver in zip(names, drivers)]


def unpacked(path, folder):
    """A file beside this script, which may be packed there: then it is unpacked, into `folder` if that is read-only."""
    bundled, packed = os.path.join(HERE, path), os.path.join(HERE, "packed.tar.xz")
    target = os.path.join(HERE if os.access(HERE, os.W_OK) else folder, path)
    if os.path.exists(bundled) or not os.path.exists(packed):
        return bundled
    if not os.path.exists(target):
        with tarfile.open(packed) as tar:
            if path not in tar.getnames():
                return bundled
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target + ".part", "wb") as out:
                shutil.copyfileobj(tar.extractfile(path), out)
        os.replace(target + ".part", target)
    return target


def cuda_environment(python):
    """Where the kernels' compiler finds its library and headers: variables for the programs."""
    command = [python, "-c", "import json, sys; print(json.dumps(sys.path))"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        folders = [folder for folder in json.loads(answer) if folder]
    except (OSError, subprocess.SubprocessError, ValueError):
        folders = []
    packages = [found for folder in folders for found in sorted(glob.glob(os.path.join(folder, "nvidia", "*")))]
    named = [os.environ.get(name) for name in ("CUDA_PATH", "CUDA_HOME")]
    toolkits = [path for path in named if path] + ["/usr/local/cuda", *sorted(glob.glob("/usr/local/cuda-13*"))]
    variables = {}
    for path in [*toolkits, *packages]:
        if os.path.exists(os.path.join(path, "include", "cuda_runtime.h")):
            variables["CUDA_PATH"] = path
            break
    libraries = [os.path.join(path, lib) for path in [*toolkits, *packages] for lib in ("lib64", "lib")]
    libraries = [path for path in libraries if glob.glob(os.path.join(path, "libnvrtc.so*"))]
    before = os.environ.get("LD_LIBRARY_PATH")
    variables["LD_LIBRARY_PATH"] = ":".join([*([before] if before else []), *libraries])
    return variables


@contextlib.contextmanager
def watched(device):
    """Looks at the card every two seconds; yields a list of how busy it was, in percent, and its memory in MiB."""
    index, samples, stop = int((device.split(":") + ["0"])[1]), [], threading.Event()

    def watch():
        while not stop.is_set():
            cards = smi("utilization.gpu,memory.used")
            if index >= len(cards):
                return
            with contextlib.suppress(ValueError):
                samples.append([float(field) for field in cards[index]])
            stop.wait(2)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join(30)


class Measurement:
    """What all stages of a call share."""

    def __init__(self, arguments):
        self.device = arguments.device
        self.card = arguments.device.startswith("cuda")
        self.form = CARD if self.card and not arguments.small else SOFTWARE if self.device == "wgpu" else SMALL
        self.out = os.path.abspath(arguments.out)
        os.makedirs(self.out, exist_ok=True)
        self.python = arguments.python
        self.processes = arguments.processes or self.form["processes"]
        self.precision = arguments.precision or self.form["precision"]
        self.minutes = self.form["minutes"] if arguments.minutes is None else arguments.minutes
        self.program = self.find_program("blockqnn", arguments.programs)
        self.measure = self.find_program("blockqnn-measure", arguments.programs)
        self.data = self.find_data(arguments.data)
        self.environment = cuda_environment(self.python) if self.card else {}
        if self.device == "wgpu":
            # A GPU made of software has nothing to tune. The drivers of displays complain without a folder.
            for variable, value in (("CUBECL_AUTOTUNE_LEVEL", "minimal"), ("XDG_RUNTIME_DIR", tempfile.gettempdir())):
                self.environment[variable] = os.environ.get(variable, value)
        self.stage, self.deadline = None, None
        # What is going on, for the message that the time was up meanwhile.
        self.doing = ""

    def find_program(self, name, folder):
        if folder:
            places = [os.path.join(folder, name)]
        else:
            target = os.environ.get("CARGO_TARGET_DIR", os.path.join(HERE, "..", "..", "target"))
            built = [os.path.join(target, profile, name) for profile in ("release", "debug")]
            places = [unpacked(name, self.out), *built]
        for place in places:
            if os.path.isfile(place):
                if not os.access(place, os.X_OK):
                    os.chmod(place, 0o755)
                return os.path.abspath(place)
        raise Failure(f"there is no {' and no '.join(places)}: name the folder of the programs with --programs DIR")

    def find_data(self, named):
        """Flags of blockqnn for the images. The small form takes those inside the program, unless some are named."""
        images = os.path.join("cifar-100-binary", "train.bin")
        bundled = unpacked(images, self.out) if self.form is CARD else ""
        if named:
            return ["--dataset", "cifar100", "--data", os.path.abspath(named)]
        if os.path.exists(bundled):
            return ["--dataset", "cifar100", "--data", os.path.dirname(bundled)]
        return ["--dataset", "embedded"]

    def left(self):
        """Seconds until the stage's time is up."""
        return self.deadline - time.monotonic()

    def log(self, mode):
        """The log of the stage."""
        return open(os.path.join(self.out, f"{self.stage}.log"), mode, errors="replace")

    def last_words(self):
        """The line of the log that tells why a program ended."""
        with self.log("r") as log:
            lines = [line.strip() for line in log if line.strip()]
        for place in range(len(lines) - 1, -1, -1):
            if lines[place].startswith("error:"):
                return lines[place][len("error:"):].strip()
            if "panicked at" in lines[place]:
                return " ".join(lines[place:place + 2])
        return lines[-1] if lines else "it said nothing"

    def start(self, command, out=None, **variables):
        """Starts a program whose output is added to the log."""
        with self.log("a") as log:
            environment = {**os.environ, **self.environment, **variables}
            return subprocess.Popen(command, stdout=out or log, stderr=log, env=environment, cwd=self.out)

    def ends(self, command, out=None, **variables):
        """Runs a program, asks it to stop when the time is up, and tells whether it ended by itself."""
        with self.start(command, out, **variables) as process:
            try:
                status = process.wait(max(self.left(), 0.1))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                return False
        if status:
            raise Failure(self.last_words())
        return True

    def finish(self, command):
        """Runs a program to its end."""
        if not self.ends(command):
            raise Missing("the time was up")

    def rows(self, *arguments, **variables):
        """The JSON lines of `blockqnn-measure`, and what is wrong if they are not all."""
        rows, ended, problem = [], True, None
        with tempfile.TemporaryFile("w+") as out:
            try:
                ended = self.ends([self.measure, *arguments, "--device", self.device], out, **variables)
            except Failure as failure:
                problem = failure
            out.seek(0)
            for line in out:
                with contextlib.suppress(ValueError):  # The last line of a program that was stopped may be cut off.
                    rows.append(json.loads(line))
        if not ended:
            return rows, Missing(f"the time was up after {len(rows)} of its lines")
        # A status that rows account for is told by them.
        return rows, None if any(bad(row) for row in rows) else problem

    def search(self, run, settings):
        """The command that begins a search, or goes on with it."""
        command = [self.program, "search", "--out", run, "--device", self.device, *self.data[2:]]
        if os.path.exists(os.path.join(run, "search.json")):
            return [*command, "--resume"]
        own = ["--precision", self.precision, "--validation", self.form["validation"]]
        return [*command, *self.data[:2], *settings, *own]


class Missing(Exception):
    """The time was up."""


class LeftOut(Exception):
    """What this machine lacks, so that the stage says nothing about the device."""


def bad(row):
    """Whether the device failed in what a row is of, or computed something else."""
    return "failure" in row or row.get("verdict") == "differs"


def number(value, digits=3):
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"
    return f"{value:,}" if type(value) is int else str(value)


def table(titles, rows):
    cells = [titles, ["---"] * len(titles), *([number(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells) + "\n"


def mebibytes(value):
    return None if value is None else round(value / 2**20)



def facts(told):
    """The numbers and texts among named facts, as a table."""
    shown = [name for name, value in told.items() if not isinstance(value, (dict, list))]
    return table(["what", "value"], [[name.replace("_", " "), told[name]] for name in shown])
