"""Training steps, or inference, of one network in PyTorch and in this crate, in turns: their speeds and peak memory.

    cargo bench --bench trainer --no-run        # prints the path of the executable
    python3 tools/compare_pytorch.py target/release/deps/trainer-... [--threads 1 2] [--rounds 5] [--steps 2] \
        [--block separable] [--width 32] [--repeats 1] [--batch 32] [--inference]
    python3 tools/compare_pytorch.py target/release/deps/trainer-... --table [--batch 32]

Any Python with torch will do. Both train the same network (three stages, 32x32x3) with Adam; --table compares all
networks that have a name, and prints a table in Markdown. One side waits while the other works, unless they run --alone,
one after the other. With --inference they classify batches, and onnxruntime takes part too if that Python has it and the executable was built with the feature
`onnx`.

Each side is a process that answers a line with a number of steps by the seconds that they took. `benches/gpu/stages`
uses the same sides on a GPU.
"""

import argparse
import importlib.util
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time

BATCH = 64
CELLS = "conv3(0) conv3(1) add(1,2) conv1(0) concat(3,4) terminal(5)"
# Networks of the comparison by name: the block, its width in the first stage, and how often a stage repeats it.
NETWORKS = {
    "cells": (CELLS, 32, 1),
    "narrow": (CELLS, 8, 1),
    "wide": (CELLS, 64, 2),
    "pools": ("max3(0) avg3(0) add(1,2) max3(3) conv1(4) add(3,5) terminal(6)", 32, 1),
    "pointwise": ("conv1(0) conv1(1) concat(1,2) conv1(3) concat(0,4) terminal(5)", 32, 1),
    "separable": ("sep3(0) sep3(1) add(1,2) conv1(0) concat(3,4) terminal(5)", 32, 1),
}


class SideError(Exception):
    """A side that ended, and why."""


class Late(SideError):
    """A side that was killed because its time was up."""


class Side:
    """A process that takes training steps when it is asked to."""

    def __init__(self, command, environment=None, log=None, limit=None):
        """`log` is a file for its standard error; after `limit` seconds it is killed."""
        environment = dict(os.environ, **(environment or {}))
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
        self.timer = None
        self.late = False
        if limit is not None:
            self.timer = threading.Timer(max(limit, 0.1), self.kill)
            self.timer.start()
        self.told = self.line()

    def kill(self):
        self.late = True
        self.process.kill()

    def line(self):
        line = self.process.stdout.readline().strip()
        if not line or line.startswith("error:"):
            self.close()
            if self.late:
                raise Late("the time was up")
            raise SideError(line.removeprefix("error:").strip() or f"it ended with status {self.process.returncode}")
        return line

    def ask(self, steps):
        try:
            self.process.stdin.write(f"{steps}\n")
            self.process.stdin.flush()
        except OSError:
            pass  # It has ended; `line` tells how.

    def seconds(self, steps):
        self.ask(steps)
        return float(self.line())

    def processor_seconds(self):
        """What its threads have computed so far; Linux only."""
        tasks = f"/proc/{self.process.pid}/task"
        return sum(int(open(f"{tasks}/{task}/schedstat").read().split()[0]) for task in os.listdir(tasks)) / 1e9

    def speeds(self, images, steps):
        """Images a second, and images a second of processor time, over some steps of so many images each."""
        before = self.processor_seconds()
        seconds = self.seconds(steps)
        return images * steps / seconds, images * steps / (self.processor_seconds() - before)

    def memory(self):
        """The most resident memory that it has used so far, in MiB; Linux only."""
        status = open(f"/proc/{self.process.pid}/status").read()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) / 1024

    def close(self):
        if self.timer:
            self.timer.cancel()
        try:
            self.process.stdin.close()
            self.process.wait(10)
        except OSError:
            pass  # It has ended.
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def torch_command(folder, *arguments, python=sys.executable):
    """The command of PyTorch's side, which trains what `folder`/exported.py holds."""
    return [python, os.path.abspath(__file__), "--serve", folder, *arguments]


def serve(arguments):
    """PyTorch's side."""
    import torch

    if arguments.threads:
        torch.set_num_threads(arguments.threads[0])
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    path = os.path.join(arguments.serve, "exported.py")
    specification = importlib.util.spec_from_file_location("exported", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    device = torch.device(arguments.device)
    network = module.Network().train().to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001)
    forward = network
    if arguments.compile:
        forward = torch.compile(network)
    shape = re.search(r"Input: float images \[batch, (\d+), (\d+), (\d+)\]", module.__doc__)
    classes = int(re.search(r"Output: logits \[batch, (\d+)\]", module.__doc__).group(1))
    images = torch.randn(arguments.batch, *(int(size) for size in shape.groups()), device=device)
    labels = (torch.arange(arguments.batch) % classes).to(device)
    mixed = arguments.precision == "bf16"
    told = {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "tf32_in_convolutions": torch.backends.cudnn.allow_tf32,
    }
    print(json.dumps(told), flush=True)
    if arguments.inference:
        network.eval()
        with torch.no_grad():
            for line in sys.stdin:
                start = time.perf_counter()
                for _ in range(int(line)):
                    network(images).numpy()
                print(time.perf_counter() - start, flush=True)
        return
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
                logits = forward(images)
            torch.nn.functional.cross_entropy(logits.float(), labels).backward()
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        print(time.perf_counter() - start, flush=True)


def serve_onnxruntime(arguments):
    """The side of onnxruntime, for inference."""
    import numpy
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    if arguments.threads:
        options.intra_op_num_threads = arguments.threads[0]
    # A side that waits must leave the processor to the others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    path = os.path.join(arguments.serve, "exported.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape[1:]
    images = numpy.random.default_rng(0).normal(size=(arguments.batch, *shape)).astype(numpy.float32)
    print(json.dumps({"onnxruntime": onnxruntime.__version__}), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            session.run(None, {"images": images})
        print(time.perf_counter() - start, flush=True)


def others(folder, threads, arguments):
    """The sides beside this crate's, by name."""
    flags = ["--threads", str(threads), "--batch", str(arguments.batch)]
    if not arguments.inference:
        return {"PyTorch": torch_command(folder, *flags)}
    both = {"PyTorch": torch_command(folder, *flags, "--inference")}
    if importlib.util.find_spec("onnxruntime") and os.path.exists(os.path.join(folder, "exported.onnx")):
        both["onnxruntime"] = torch_command(folder, *flags, "--onnxruntime")
    return both


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("executable", nargs="*", help="one build or several, to compare them in the same rounds")
    parser.add_argument("--threads", type=int, nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--serve", metavar="DIR", help="be PyTorch's side, for the exported.py in DIR")
    parser.add_argument("--device", default="cpu", help="of PyTorch's side")
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--inference", action="store_true", help="classify instead of training")
    parser.add_argument("--alone", action="store_true", help="one side after the other, instead of in turns")
    parser.add_argument("--onnxruntime", action="store_true", help="be onnxruntime's side")
    parser.add_argument("--block", default="cells", help=f"{', '.join(NETWORKS)}, or the text of a block")
    parser.add_argument("--width", type=int, help="the width of the first stage, instead of the network's")
    parser.add_argument("--repeats", type=int, help="the blocks in a stage, instead of the network's")
    parser.add_argument("--table", action="store_true", help="all networks by name, as a table in Markdown")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32", help="of PyTorch's side")
    parser.add_argument("--compile", action="store_true", help="PyTorch's side with torch.compile")
    arguments = parser.parse_args()
    if arguments.serve:
        try:
            (serve_onnxruntime if arguments.onnxruntime else serve)(arguments)
        except Exception as error:  # Whatever it is, the other end reads one line.
            kind = "" if isinstance(error, SideError) else f"{type(error).__name__}: "
            print("error:", " ".join(f"{kind}{error}".split())[:400], flush=True)
            sys.exit(1)
        return
    if not arguments.executable:
        parser.error("name an executable of the bench trainer: cargo bench --bench trainer --no-run prints its path")

    print(f"images a second over {arguments.rounds} rounds in turns: best, median; median of ratios in a round")
    print("the same per second of processor time, which other programs on the machine change less")
    print("peak of resident memory in MiB, and by how much that peak grew after the network was built")
    if arguments.table:
        print_table(arguments)
        return
    network = chosen(arguments, arguments.block)
    for threads in arguments.threads or [1, 2]:
        for name, (peak, added), *clocks in compare(arguments, network, threads):
            told = (
                f"{max(speeds):.0f}, {statistics.median(speeds):.0f}; " + ", ".join(map("{:.2f}".format, ratios))
                for speeds, ratios in clocks
            )
            memory = f"memory: {peak:.0f}, {added:.0f}"
            print(f"{threads} threads, {name}: {'    processor: '.join(told)}    {memory}", flush=True)


def chosen(arguments, name):
    """The network of a name, or of a block, with what the arguments change of it."""
    block, width, repeats = NETWORKS.get(name, (name, 32, 1))
    return block, arguments.width or width, arguments.repeats or repeats


def print_table(arguments):
    """Prints the ratios of the last executable to the first of the others, of all networks by name."""
    heads = ["network", "block", "width", "N", "threads", "images/s", "PyTorch", "ratio", "ratio of processor time"]
    heads += ["growth of the peak, MiB", "PyTorch"]
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    for name in NETWORKS:
        block, width, repeats = network = chosen(arguments, name)
        for threads in arguments.threads or [1, 2]:
            rows = list(compare(arguments, network, threads))
            (_, (_, their_memory), (theirs, _), _), (_, (_, memory), (speeds, ratios), (_, processor)) = rows[0], rows[-1]
            cells = [name, f"`{block}`", width, repeats, threads, f"{statistics.median(speeds):.0f}"]
            cells += [f"{statistics.median(theirs):.0f}", f"{ratios[0]:.2f}", f"{processor[0]:.2f}"]
            cells += [f"{memory:.0f}", f"{their_memory:.0f}"]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


def compare(arguments, network, threads):
    """Yields each side's name, its memory, and for each clock its speeds and its ratios to the sides of others."""
    block, width, repeats = network
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "BLOCKQNN_PEER": folder,
            "BLOCKQNN_PEER_BLOCK": block,
            "BLOCKQNN_PEER_WIDTH": str(width),
            "BLOCKQNN_PEER_REPEATS": str(repeats),
            "BLOCKQNN_PEER_BATCH": str(arguments.batch),
            "RAYON_NUM_THREADS": str(threads),
        }
        if arguments.inference:
            environment["BLOCKQNN_PEER_INFERENCE"] = "1"
        if not arguments.alone:
            # A side that waits must leave the processor to the others, and not spin.
            environment["OMP_WAIT_POLICY"] = "passive"
        # They write the files that the others read.
        ours = [Side([executable], environment) for executable in arguments.executable]
        commands = others(folder, threads, arguments)
        theirs = (Side(command, environment) for command in commands.values())
        if arguments.alone:
            results = [result for side in itertools.chain(theirs, ours) for result in measured([side], arguments)]
        else:
            results = measured([*theirs, *ours], arguments)
    compared = results[: len(commands)]
    versions = [next(iter(json.loads(told).values())) for told, _, _ in compared]
    names = [*map("{} {}".format, commands, versions), *map(os.path.basename, arguments.executable)]
    for name, (_, memory, speeds) in zip(names, results):
        ratios = [[median_ratio(speeds, other, clock) for _, _, other in compared] for clock in (0, 1)]
        yield name, memory, *(([one[clock] for one in speeds], ratios[clock]) for clock in (0, 1))


def measured(sides, arguments):
    """Lets the sides work in turns, closes them, and returns what each told, its memory, and its speeds by round."""
    # What a process needs before its first step: libraries and the network.
    loaded = [side.memory() for side in sides]
    for side in sides:
        side.seconds(1)
    rounds = [[side.speeds(arguments.batch, arguments.steps) for side in sides] for _ in range(arguments.rounds)]
    memory = [(side.memory(), side.memory() - before) for side, before in zip(sides, loaded)]
    for side in sides:
        side.close()
    return list(zip((side.told for side in sides), memory, zip(*rounds)))


def median_ratio(speeds, others, clock):
    """The median over the rounds."""
    return statistics.median(one[clock] / other[clock] for one, other in zip(speeds, others))


if __name__ == "__main__":
    main()
