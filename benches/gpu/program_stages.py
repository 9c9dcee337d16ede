"""Stages of `blockqnn`: searches, and what is made of what they found."""

import contextlib
import csv
import glob
import json
import os
import random
import shutil
import socket
import statistics
import struct
import subprocess
import tempfile
import time
import zlib

from measurement import Failure, LeftOut, Missing, facts, number, table, vulkan, watched


def finished_blocks(run):
    """The rows of a run's results.csv, in the order of the trials."""
    path = os.path.join(run, "results.csv")
    if not os.path.exists(path):
        return []
    with open(path, newline="") as file:
        return sorted(csv.DictReader(file), key=lambda row: int(row["trial"]))


def search(measurement):
    run = os.path.join(measurement.out, "search-run")
    before = len(finished_blocks(run))
    command = measurement.search(run, measurement.form["search"])
    start = time.monotonic()
    with watched(measurement.device) if measurement.card else contextlib.nullcontext([]) as samples:
        ended = measurement.ends([*command, "--processes", str(measurement.processes)])
    wall = time.monotonic() - start
    blocks = finished_blocks(run)
    new = len(blocks) - before
    if not blocks:
        raise Missing("the time was up before the first block was done: give it more --minutes")
    with open(os.path.join(run, "search.json")) as file:
        settings = json.load(file)
    measured = [row for row in blocks if row["seconds"]]
    seconds = [float(row["seconds"]) for row in measured]
    told = {
        "blocks_of_this_call": new,
        "blocks": len(blocks),
        "blocks_without_an_accuracy": len(blocks) - len(measured),
        "trainings_at_a_time": measurement.processes,
        "seconds_of_this_call": wall,
        "seconds_a_block_of_this_call": wall / new if new else None,
        **{f"seconds_of_block_{number}": seconds[number - 1] for number in (1, 10, 100) if len(seconds) >= number},
        "median_seconds_of_the_last_ten_blocks": statistics.median(seconds[-10:]) if seconds else None,
        "best_accuracy_percent": max((float(row["accuracy"]) for row in measured), default=None),
        "settings": settings,
    }
    if samples:
        busy, memory_used = zip(*samples)
        told["mean_busy_percent_of_the_card"] = statistics.mean(busy)
        told["most_memory_mib_of_the_card"] = max(memory_used)
    with contextlib.suppress(OSError, ValueError), open(os.path.join(run, "utilisation.json")) as file:
        told["utilisation"] = json.load(file)
    problem = None if ended else Missing(f"the time was up after {len(blocks)} blocks; the same command goes on")
    command = f"blockqnn search {' '.join(measurement.form['search'])}"
    said = f"A search with `{command}` on {measurement.data[1]}, in {measurement.precision}.\n"
    if ended and not new:
        said += "\nIt was finished before this call, which measured nothing: another --out begins anew.\n"
    return told, said + "\n" + facts(told), problem


def logged_epochs(folder):
    logs = glob.glob(os.path.join(folder, "networks", "*", "epochs.csv"))
    if not logs:
        return []
    with open(max(logs, key=os.path.getmtime), newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: json.loads(value) if value else None for name, value in row.items()} for row in rows]


def long(measurement):
    run, folder = os.path.join(measurement.out, "search-run"), os.path.join(measurement.out, "long-run")
    if not finished_blocks(run):
        # A block to train: the better of two after an epoch, from a run of its own, so that `search` begins anew.
        run = os.path.join(measurement.out, "long-search-run")
    if not finished_blocks(run):
        few = {"--trials": "2", "--minibatch": "2", "--epochs": "1"}
        form = dict(zip(measurement.form["search"][::2], measurement.form["search"][1::2]))
        settings = [part for pair in {**form, **few}.items() for part in pair]
        if not measurement.ends(measurement.search(run, settings)):
            raise Missing("the time was up before there was a block to train; the same command goes on")
    before = len(logged_epochs(folder))
    flags = [measurement.program, "verify", run, "--top", "1", *measurement.form["long"]]
    flags += ["--precision", measurement.precision, "--out", folder]
    start = time.monotonic()
    ended = measurement.ends([*flags, "--device", measurement.device, *measurement.data[2:]])
    wall = time.monotonic() - start
    epochs = logged_epochs(folder)
    if not epochs:
        raise Missing("the time was up before the first epoch was done; the same command goes on from a checkpoint")
    last = epochs[-1]
    accuracies = [epoch["accuracy"] for epoch in epochs if epoch["accuracy"] is not None]
    told = {
        "epochs_before_this_call": before,
        "epochs": len(epochs),
        "seconds_of_this_call": wall,
        "images_a_second_in_the_last_epoch": last["images_per_second"],
        "training_loss_of_the_last_epoch": last["training_loss"],
        "last_accuracy_percent_on_held_out_images": accuracies[-1] if accuracies else None,
        "finished": ended,
        "log": epochs,
    }
    problem = None if ended else Missing(f"the time was up after {len(epochs)} epochs; the same command goes on")
    said = f"The best block of the search, trained by `blockqnn verify {' '.join(measurement.form['long'])}`.\n"
    return told, said + "\n" + facts(told), problem


def small_search(measurement, run, blocks, *options):
    """The command of a search of random blocks, the same on every device; it goes on with one that was begun."""
    command = [measurement.program, "search", "--out", run, *options]
    if os.path.exists(os.path.join(run, "search.json")):
        return [*command, "--resume"]
    settings = ["--preset", "quick", "--dataset", "embedded", "--agent", "random", "--minibatch", "4", "--epochs", "2"]
    return [*command, *settings, "--trials", str(blocks), "--train-limit", "500", "--validation", "300"]


def finished_in_journal(run):
    with contextlib.suppress(OSError), open(os.path.join(run, "journal.jsonl"), errors="replace") as journal:
        return sum('{"finished":' in line for line in journal)
    return 0


def kill_after(measurement, process, run, blocks):
    """Kills a search once it has finished so many blocks."""
    with process:
        while process.poll() is None:
            if finished_in_journal(run) >= blocks:
                process.kill()
                return
            if measurement.left() < 0:
                process.terminate()
                raise Missing(f"the time was up after {finished_in_journal(run)} blocks; the same command goes on")
            # On a CPU the whole search takes a second.
            time.sleep(0.02)
    if process.returncode:
        raise Failure(measurement.last_words())
    raise Failure(f"the search ended before {blocks} blocks were done, and was not killed")


def agreement(measurement):
    """The same search on the device, stopped by two kills, and on the CPU, undisturbed."""
    blocks = measurement.form["agreement"]
    on_device, on_cpu = (os.path.join(measurement.out, f"agreement-{name}-run") for name in ("device", "cpu"))
    if finished_blocks(on_device):
        # Nothing could be killed.
        shutil.rmtree(on_device)
    search = ["--device", measurement.device, "--workers", "2"]
    for kill_at in (blocks // 4, blocks // 2):
        if finished_in_journal(on_device) < kill_at:
            process = measurement.start(small_search(measurement, on_device, blocks, *search))
            kill_after(measurement, process, on_device, kill_at)
        search = ["--device", measurement.device, "--processes", str(measurement.processes)]
    for run, *options in ((on_device, *search), (on_cpu, "--device", "flex")):
        if not measurement.ends(small_search(measurement, run, blocks, *options)):
            done = finished_in_journal(run)
            raise Missing(f"the time was up after {done} blocks of {run}; the same command goes on")
    pairs = list(zip(finished_blocks(on_device), finished_blocks(on_cpu)))
    if len(pairs) != blocks or any(left["fingerprint"] != right["fingerprint"] for left, right in pairs):
        raise Failure(f"{on_device} and {on_cpu} are not of the same blocks")
    alone = [left["architecture"] for left, right in pairs if bool(left["accuracy"]) != bool(right["accuracy"])]
    if alone:
        raise Failure(f"only one of the devices has an accuracy of {'; '.join(alone)}")
    measured = [(row, cpu) for row, cpu in pairs if row["accuracy"]]
    rows = [(row["architecture"], float(row["accuracy"]), float(cpu["accuracy"])) for row, cpu in measured]
    differences = [found - wanted for _, found, wanted in rows]
    mean = statistics.mean(differences)
    error = statistics.stdev(differences) / len(differences) ** 0.5
    told = {
        "blocks": blocks,
        "mean_difference_of_accuracy_in_points": mean,
        "standard_error": error,
        "largest_difference": max(map(abs, differences)),
        "same_accuracy": sum(difference == 0 for difference in differences),
        "rows": [dict(zip(("block", "device", "flex"), row)) for row in rows],
    }
    problem = None if abs(mean) <= max(3 * error, 0.1) else Failure("the accuracies differ by more than three errors")
    said = (
        f"A search on the device, killed after {blocks // 4} blocks (two threads) and {blocks // 2} blocks "
        f"({measurement.processes} child processes) and resumed, against the same on `flex`.\n"
    )
    return told, said + "\n" + facts(told) + "\n" + table(["block", measurement.device, "flex"], rows), problem


def a_run(measurement):
    """A search with finished blocks, of one of the stages before."""
    runs = [os.path.join(measurement.out, name) for name in ("search-run", "agreement-device-run", "long-search-run")]
    found = next(filter(finished_blocks, runs), None)
    if found is None:
        raise LeftOut("there is no block to train: run `search` or `agreement` first")
    return found


def write_png(path, side, seed):
    """A picture of random squares, eight to a side."""
    rng = random.Random(seed)
    squares = [[rng.randbytes(3) for _ in range(8)] for _ in range(8)]
    rows = b"".join(b"\0" + b"".join(squares[8 * y // side][8 * x // side] for x in range(side)) for y in range(side))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunks)


PICTURES = 20
# That of the small searches, for which the kernels are there.
BATCH = "32"


def result(measurement):
    """What is made of a found block: its training, its exports, classification."""
    run, folder = a_run(measurement), os.path.join(measurement.out, "result-run")
    shutil.rmtree(folder, ignore_errors=True)
    device = ["--device", measurement.device]
    flags = ["--top", "1", "--recipe", "early-stop", "--epochs", "2", "--batch-size", BATCH, "--test", "--out", folder]
    measurement.finish([measurement.program, "verify", run, *flags, *measurement.data[2:], *device])
    exports = {"safetensors": "network.safetensors", "onnx": "network.onnx", "pytorch": "network.py"}
    for form, name in exports.items():
        exports[form] = os.path.join(folder, name)
        options = ["--to", form, "--verification", folder, "--out", exports[form]]
        measurement.finish([measurement.program, "export", run, *options])
    with tempfile.TemporaryDirectory() as pictures:
        for place in range(PICTURES):
            write_png(os.path.join(pictures, f"{place:02}.png"), 32, place)
        tables = {}
        for name in (measurement.device, "flex"):
            path = os.path.join(folder, f"{name.replace(':', '-')}.csv")
            command = [measurement.program, "classify", exports["safetensors"], pictures, "--csv", path]
            measurement.finish([*command, "--device", name])
            with open(path, newline="") as file:
                tables[name] = [(row["class_1"], float(row["probability_1"])) for row in csv.DictReader(file)]
    found, wanted = tables[measurement.device], tables["flex"]
    if not len(found) == len(wanted) == PICTURES:
        raise Failure(f"{len(found)} and {len(wanted)} of {PICTURES} pictures were classified")
    difference = max(abs(left[1] - right[1]) for left, right in zip(found, wanted))
    with open(os.path.join(folder, "verification.csv"), newline="") as file:
        trained = next(csv.DictReader(file))
    told = {
        "block": trained["architecture"],
        **{f"bytes_of_{form}": os.path.getsize(path) for form, path in exports.items()},
        "pictures": PICTURES,
        "same_class_as_on_flex": sum(left[0] == right[0] for left, right in zip(found, wanted)),
        "largest_difference_of_a_probability": difference,
    }
    differs = f"probabilities differ from those of `flex` by up to {number(difference)}"
    problem = None if difference < 0.01 else Failure(differs)
    said = "The best block of a search, trained for two epochs, exported, and used on pictures of random squares.\n"
    return told, said + "\n" + facts(told), problem


def worker(measurement):
    """A search over NATS, whose only worker is stopped and replaced."""
    if shutil.which("nats-server") is None:
        raise LeftOut("there is no nats-server, the broker between a search and its workers")
    if "--nats" not in subprocess.run([measurement.program, "search", "--help"], capture_output=True, text=True).stdout:
        raise LeftOut("the program was built without the feature nats")
    run, blocks = os.path.join(measurement.out, "worker-run"), measurement.form["agreement"] // 2
    shutil.rmtree(run, ignore_errors=True)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        url = f"nats://127.0.0.1:{port}"

        def begin(command):
            process = measurement.start(command)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        begin(["nats-server", "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", folder])
        time.sleep(1)
        work = [measurement.program, "worker", "--nats", url, "--device", measurement.device]
        first = begin(work)
        search = begin(small_search(measurement, run, blocks, "--nats", url))
        while search.poll() is None and measurement.left() > 0:
            if first is not None and finished_in_journal(run) >= blocks // 2:
                first.send_signal(measurement.form["worker_signal"])
                begin(work)
                first = None
            time.sleep(0.1)
        if search.poll() is None:
            raise Missing(f"the time was up after {finished_in_journal(run)} blocks")
        if search.returncode:
            raise Failure(measurement.last_words())
    rows = finished_blocks(run)
    told = {
        "blocks": len(rows),
        "blocks_without_an_accuracy": sum(not row["accuracy"] for row in rows),
        "best_accuracy_percent": max((float(row["accuracy"]) for row in rows if row["accuracy"]), default=None),
        "a_worker_was_stopped": first is None,
    }
    problem = None if first is None and len(rows) == blocks else Failure("blocks are missing, or no worker was stopped")
    said = "A search whose blocks a worker on the device trains; it is stopped and replaced.\n"
    return told, said + "\n" + facts(told), problem


# Enough for a device in software to train a network of one convolution, and not one of ten.
ADDRESS_SPACE = 2_200_000_000
ONE = "conv1(0) terminal(1)"
TEN = " ".join(f"conv1({place})" for place in range(10)) + " terminal(10)"


def faults(measurement):
    """A search of a network that the device has no memory for, and then of one that it has memory for."""
    devices = vulkan() if measurement.device == "wgpu" else []
    if not devices or not all("llvmpipe" in device["name"] for device in devices):
        raise LeftOut("only the memory of a device in software can be limited")
    run = os.path.join(measurement.out, "faults-run")
    shutil.rmtree(run, ignore_errors=True)
    command = ["prlimit", f"--as={ADDRESS_SPACE}", measurement.program, "search", "--out", run, "--processes", "1"]
    command += ["--preset", "quick", "--dataset", "embedded", "--agent", "random", "--epochs", "1", "--max-layers", "12"]
    command += ["--first", TEN, "--first", ONE, "--trials", "2", "--minibatch", "1", "--device", measurement.device]
    command += ["--train-limit", "1000", "--batch-size", "1000", "--validation", "100", "--width", "32"]
    measurement.finish(command)
    outcomes = {row["architecture"]: row["infeasible"] or "trained" for row in finished_blocks(run)}
    told = {"address_space_in_bytes": ADDRESS_SPACE, "ten_convolutions": outcomes.get(TEN), "one": outcomes.get(ONE)}
    # Some drivers end the process when they find no memory.
    expected = TEN in outcomes and outcomes[TEN] != "trained" and outcomes.get(ONE) == "trained"
    problem = None if expected else Failure("the search did not go on, or there was memory enough")
    said = "A search of ten convolutions, which the device has no memory for, and then of one.\n"
    return told, said + "\n" + facts(told), problem
