"""Stages of `blockqnn-measure`: steps, kernels and memory."""

import contextlib
import json
import statistics
import tempfile
import time

from compare_pytorch import Late, Side, SideError, torch_command
from measurement import Failure, Missing, bad, mebibytes, number, table


def check(measurement):
    rows, problem = measurement.rows("check")
    if not rows and problem:
        raise problem
    titles = ["number type", "first step, s", "second step, s", "loss after two steps", "failure"]
    names = ["precision", "first_step_seconds", "second_step_seconds", "loss_after_two_steps", "failure"]
    cells = [[row.get(name) for name in names] for row in rows]
    failures = [f"{row['precision']}: {row['failure']}" for row in rows if bad(row)]
    if failures:
        problem = problem or Failure("; ".join(failures))
    said = f"The device is {rows[0]['device']}. Steps train a tiny network; the first compiles its kernels.\n"
    return {"rows": rows, "works": len(failures) < len(rows)}, said + "\n" + table(titles, cells), problem


def parity(measurement):
    rows, problem = measurement.rows("parity", *measurement.form["parity"])
    if measurement.device != "flex" and not isinstance(problem, Missing):
        # Every operation as a kernel of its own.
        alone, problem_alone = measurement.rows("parity", *measurement.form["parity"], BURN_FUSION_MAX_EXPLORATIONS="0")
        rows += [{**row, "case": f"{row['case']}, without fusion"} for row in alone]
        problem = problem or problem_alone
    wrong = [f"{row['case']} in {row['precision']}" for row in rows if bad(row)]
    gradients = [row.get("gradients") for row in rows if row["precision"] == "f32"]
    most = max((value for value in gradients if value is not None), default=None)
    titles = ["case", "number type", "logits", "loss", "gradients", "verdict"]
    names = ["case", "precision", "logits", "loss", "gradients"]
    cells = [[*(row.get(name) for name in names), row.get("failure", row["verdict"])] for row in rows]
    said = (
        f"{len(rows) - len(wrong)} of {len(rows)} cases agree with `flex` in single precision. Differences are "
        f"relative; the largest of gradients in f32 is {number(most)}.\n"
    )
    if wrong:
        problem = problem or Failure(f"the device fails or computes something else: {'; '.join(wrong)}")
    result = {"rows": rows, "wrong": wrong, "largest_deviation_of_gradients_f32": most}
    return result, said + "\n" + table(titles, cells), problem


def speeds(side, steps, batch):
    return steps * batch / side.seconds(steps)


def throughput(measurement):
    form, batch = measurement.form, measurement.form["batch"]
    steps_flags = [*form["steps"], "--batch-size", str(batch)]
    torch_device = measurement.device if measurement.card else "cpu"
    results, problem = [], None
    with measurement.log("a") as log:
        for precision in form["precisions"]:
            result = {"precision": precision, "batch": batch, "network": form["steps"], "sides": {}, "unavailable": {}}
            results.append(result)
            with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
                flags = [*steps_flags, "--precision", precision, "--device", measurement.device, "--folder", folder]
                peer = ["--device", torch_device, "--batch", str(batch), "--precision", precision]
                commands = {
                    "burn": [measurement.measure, "steps", *flags],
                    "eager": torch_command(folder, *peer, python=measurement.python),
                    "compile": torch_command(folder, *peer, "--compile", python=measurement.python),
                }

                def start(name):
                    side = Side(commands[name], measurement.environment, log, measurement.left())
                    stack.callback(side.close)
                    return side

                try:
                    burn = compare(measurement, commands, start, result)
                    several(measurement, burn, start, result)
                except Late:
                    problem = Missing(f"the time was up {measurement.doing} (in {precision})")
                    break
                except SideError as error:
                    problem = Failure(f"{precision}: {error}: {measurement.last_words()}")
                    break
    done = [result["precision"] for result in results if "several" in result]
    cells, ratios = [], []
    for result in results:
        for name, side in result["sides"].items():
            rounds = side["images_a_second"]
            texts = "; ".join(number(value) for value in rounds)
            cells.append([result["precision"], name, side["first_step_seconds"], max(rounds, default=None), texts])
        compared = [result.get("ratios", {}).get(name) for name in ("burn_to_eager", "burn_to_compile")]
        ratios.append([result["precision"], *compared, result.get("several", {}).get("ratio")])
    said = (
        f"Training steps (forward, backward, Adam) in batches of {batch}, in turns; the quickest of up to "
        f"{form['rounds']} rounds counts. The first step holds what is compiled and tuned. `several` are "
        f"{measurement.processes} processes at once.\n"
    )
    text = said + "\n" + table(["number type", "side", "first step, s", "images/s", "images/s of each round"], cells)
    text += "\n" + table(["number type", "burn / eager", "burn / compile", "several / one"], ratios)
    for result in results:
        for name, reason in result["unavailable"].items():
            text += f"\nNot measured in {result['precision']}: {name}: {reason}.\n"
    result = {"rows": results, "processes": measurement.processes, "complete_precisions": done}
    return result, text, problem


def compare(measurement, names, start, result):
    """Rounds of all sides in turns. Returns the side of burn, the only one that is left open."""
    sides = {}
    for name in names:
        measurement.doing = f"in the first steps of {name}"
        try:
            side = start(name)
            first = side.seconds(1)
            side.seconds(1)
            each = side.seconds(2) / 2
        except SideError as error:
            if name == "burn" or isinstance(error, Late):
                raise
            result["unavailable"][name] = str(error)
            continue
        sides[name] = side
        steps = max(1, min(1000, round(measurement.form["round_seconds"] / each)))
        told = json.loads(side.told) if side.told.startswith("{") else None
        result["sides"][name] = {"first_step_seconds": first, "images_a_second": [], "steps": steps, "told": told}
    for round_ in range(measurement.form["rounds"]):
        measurement.doing = f"in round {round_ + 1}"
        for name, side in sides.items():
            of_side = result["sides"][name]
            of_side["images_a_second"].append(speeds(side, of_side["steps"], result["batch"]))
    best = {name: max(side["images_a_second"]) for name, side in result["sides"].items()}
    result["ratios"] = {f"burn_to_{name}": best["burn"] / best[name] for name in ("eager", "compile") if name in best}
    burn = sides.pop("burn")
    for side in sides.values():
        side.close()
    return burn


def several(measurement, burn, start, result):
    """Rounds of one training, and of several at once."""
    measurement.doing = "with several trainings at once"
    steps, batch = result["sides"]["burn"]["steps"], result["batch"]
    try:
        others = [start("burn") for _ in range(1, measurement.processes)]
        together(others, 3)
        one, all_ = [], []
        for _ in range(measurement.form["rounds"]):
            one.append(speeds(burn, steps, batch))
            before = time.perf_counter()
            together([burn, *others], steps)
            all_.append(measurement.processes * steps * batch / (time.perf_counter() - before))
    except SideError as error:
        if isinstance(error, Late):
            raise
        result["unavailable"]["several"] = str(error)
        return
    result["several"] = {"processes": measurement.processes, "one": one, "all": all_, "ratio": max(all_) / max(one)}


def together(sides, steps):
    for side in sides:
        side.ask(steps)
    for side in sides:
        side.line()


def memory(measurement):
    flags = [*measurement.form["memory"], "--precision", measurement.precision]
    rows, problem = measurement.rows("memory", *flags)
    if not rows:
        raise problem or Failure("no network was trained: see memory.log")
    reserved = [(row["device"] or {}).get("reserved") for row in rows]
    seconds = [row["seconds"] for row in rows]
    shown = sorted({place for place in (1, 2, 10, 20, 50, 100, 200, 300, len(rows)) if place <= len(rows)})
    cells = [
        [place + 1, row["outcome"], seconds[place], mebibytes(reserved[place]), mebibytes(row["resident"])]
        for place, row in enumerate(rows)
        if place + 1 in shown
    ]
    # The first networks fill pools and caches.
    settled = max(0, min(20, len(rows) // 2) - 1)
    growth = {
        "from_network": settled + 1,
        "device_reserved": reserved[-1] / reserved[settled] if reserved[-1] and reserved[settled] else None,
        "resident": rows[-1]["resident"] / rows[settled]["resident"] if rows[-1]["resident"] else None,
    }
    result = {
        "networks": len(rows),
        "not_trained": sum(row["outcome"] != "trained" for row in rows),
        "seconds_of_network": {name: seconds[name - 1] for name in (1, 10, 100) if len(rows) >= name},
        "median_seconds_of_last_ten": statistics.median(seconds[-10:]),
        "growth": growth,
        "rows": rows,
    }
    said = (
        f"Different random networks, a few training steps each (`{' '.join(flags)}`), in one process: the first pays "
        f"for compiling and tuning, later ones for what is new in them. Median of the last ten: "
        f"{number(result['median_seconds_of_last_ten'])} s. Memory after the last, as a multiple "
        f"of that after network {settled + 1}: device {number(growth['device_reserved'])}, "
        f"process {number(growth['resident'])}.\n"
    )
    if problem and isinstance(problem, Missing):
        problem = Missing(f"the time was up after {len(rows)} networks")
    titles = ["network", "outcome", "seconds", "held on the device, MiB", "held by the process, MiB"]
    return result, said + "\n" + table(titles, cells), problem
