"""Evaluates what a blockqnn search proposes, in Python. Needs Python 3.9 or newer, and nothing else.

    import blockqnn_worker

    @blockqnn_worker.run
    def train(task):
        network = task.network()                 # a PyTorch module; or build one from task.graph, task.architecture
        for epoch in range(task.epochs):
            ...
            task.progress(epoch + 1)
        return accuracy                          # in percent, on validation images

`run` belongs at the end of the file, because it evaluates until the search ends. Load the data above it, once.
The protocol is described in docs/python.md of blockqnn.
"""

import hashlib
import inspect
import json
import math
import multiprocessing
import os
import queue
import sys
import threading
import time
import traceback

__all__ = ["Diverged", "Infeasible", "OutOfMemory", "OverTime", "Rejected", "Task", "run", "unready"]

PROTOCOL = 1
CHILD = "BLOCKQNN_TRAINER"
MARK = "@blockqnn "
METRICS = (
    "accuracy", "value", "training_loss", "epochs", "restarts", "seconds", "curve", "stopped", "measurements",
)
LONGEST_MESSAGE = 10_000
SECONDS_BETWEEN_PROGRESS = 0.05


class Infeasible(Exception):
    """The architecture has no accuracy: it is recorded with the reason, and rewarded as if it guessed."""

    def __init__(self, reason, **facts):
        super().__init__(", ".join([reason, *(f"{name} {fact}" for name, fact in facts.items())]))
        self.outcome = {"reason": reason, **facts}


class OutOfMemory(Infeasible):
    """It needs more memory than there is. The search tries it once more, alone."""

    def __init__(self, message):
        super().__init__("out-of-memory", message=_short(message))


class Diverged(Infeasible):
    """The loss was not finite in this epoch, counted from 1, after this many restarts."""

    def __init__(self, epoch, restarts=0):
        super().__init__("diverged", epoch=int(epoch), restarts=int(restarts))


class OverTime(Infeasible):
    """It took longer than this limit in seconds. The search tries it once more, alone."""

    def __init__(self, limit_seconds):
        super().__init__("timed-out", limit_seconds=float(limit_seconds))


class Rejected(Infeasible):
    """It cannot be evaluated, for any other reason that is due to the architecture."""

    def __init__(self, message):
        super().__init__("rejected", message=_short(message))


class Task:
    """An architecture to evaluate, and how.

    architecture: plain data, as the search writes it to its journal
    text:         the same as text, or None if the space has no text form
    graph:        its layer graph, a list of {"operation": ..., "inputs": [...]}, or None
    pytorch:      Python source of the network, or None; see `network`
    forms:        these three and others that the search sends, by name
    seed:         for everything random: equal seeds must give equal results
    epochs:       how many epochs to train in all, or None if the search leaves that open
    full_epochs:  how many a training has that is not ended early, which schedules are to last for: in a search with rungs
                  `epochs` may be fewer, and the same fingerprint and seed may come again with more
    may_continue: whether an earlier attempt, or a lower rung, may have left a checkpoint to continue from; see
                  `continued_from`
    trial, attempt: number of the trial, from 0, and of the attempt at it, from 1
    fingerprint:  a name of the architecture
    cost:         parameters, flops, ... of the network, as the search counts them, or None if it knows none
    should_stop:  whether the search wants no more of it than what is measured already; see `progress`
    settings:     what the search was started with; from blockqnn search: "experiment", "data" (folder), "device"
    """

    def __init__(self, line, settings, say, asked):
        trial, forms = line["trial"], line.get("forms") or {}
        self.trial, self.seed = trial["id"], trial["seed"]
        self.fingerprint, self.cost = trial["fingerprint"], trial.get("cost")
        self.attempt, self.architecture = line["attempt"], line["architecture"]
        self.forms = forms
        self.text, self.graph, self.pytorch = (forms.get(name) for name in ("text", "graph", "pytorch"))
        budget = line.get("budget") or {}
        self.epochs = budget.get("epochs")
        self.full_epochs = budget.get("of") or self.epochs
        self.may_continue = bool(line.get("continue"))
        self.settings = settings
        self._say = say
        self._said = -math.inf
        self._epoch = 0
        self._continued_from = None
        self._thresholds = dict(map(tuple, line.get("thresholds") or ()))
        self._asked = asked
        self._restarts, self._curve, self._is_behind = 0, [], False

    @property
    def should_stop(self):
        return self._asked.is_set() or self._is_behind

    def progress(self, epoch, epochs=None, restarts=0, fraction=0.0, accuracy=None):
        """Reports how many epochs are finished, of how many, and how much of the next one. Call it every few seconds:
        a training that stays silent for minutes counts as hung and is killed.

        accuracy: in percent, on validation images, if it was measured after the finished epochs: a point of the learning
        curve. Returns whether to stop here, as `should_stop`: return {"accuracy": accuracy, "stopped": True} then. A
        function that cannot simply finishes."""
        self._epoch = int(epoch)
        epochs = int(epochs or self.epochs or epoch)
        fraction = min(max(float(fraction), 0.0), 1.0)
        progress = {"epoch": self._epoch, "epochs": epochs, "restarts": int(restarts), "fraction": fraction}
        if progress["restarts"] != self._restarts:
            self._restarts, self._curve, self._is_behind = progress["restarts"], [], False
        if accuracy is not None and math.isfinite(float(accuracy)):
            progress["accuracy"] = float(accuracy)
            self._follow(self._epoch, float(accuracy))
        if "accuracy" in progress or time.monotonic() - self._said >= SECONDS_BETWEEN_PROGRESS:
            self._said = time.monotonic()
            self._say(progress=progress)
        return self.should_stop

    def _follow(self, epoch, accuracy):
        # The same rule as in the search, so that a trial ends after the same epoch wherever it is evaluated.
        if not self._curve or self._curve[-1][0] < epoch:
            self._curve.append((epoch, accuracy))
            best = max(accuracy for _, accuracy in self._curve)
            self._is_behind = self._is_behind or best < self._thresholds.get(epoch, -math.inf)

    def continued_from(self, epoch):
        """Reports that training continued from a checkpoint of this epoch; otherwise it counts as started again."""
        self._continued_from = int(epoch)

    def network(self):
        """Returns the network as a new `torch.nn.Module`, with random weights from PyTorch's own generator."""
        if self.pytorch is None:
            raise ValueError("the search sends no PyTorch source: build the network from task.architecture")
        names = {"__name__": "blockqnn_network"}
        exec(compile(self.pytorch, "<network>", "exec"), names)
        return names["Network"]()


def run(function=None, *, identity=None, rungs=False):
    """Evaluates with a function that takes a `Task` and returns an accuracy in percent, or a dict with "accuracy" (or
    "value", if the search has another objective) and, as far as they are known, "training_loss", "epochs", "restarts",
    "seconds", "stopped" if it stopped early, "curve", a list of epochs and values, by default what `Task.progress` was
    told, and "measurements", a dict of further numbers by name, such as {"latency_ms": 3.2}. It may raise `OutOfMemory`,
    `Diverged`, `OverTime` or `Rejected`; any other error is a fault, and the search tries again.

    identity: a text that names everything that results depend on besides architecture and seed, such as data and
    recipe. A search can only be resumed with the identity that it was started with. The default is the function's name
    and a checksum of its file. It may also be a function that returns the text; it is called once, before the first
    task, with the `settings` of a task, and what it raises ends the search with its message.

    rungs: whether the function trains for `Task.epochs` of `Task.full_epochs` epochs alone, as the beginning of the whole
    training, learning rates included. A search with rungs needs that.

    Returns the function if no search started this process, so that it can be imported and tested.
    """
    if function is None:
        return lambda function: run(function, identity=identity, rungs=rungs)
    if CHILD not in os.environ or multiprocessing.parent_process() is not None:
        if function.__module__ == "__main__" and multiprocessing.parent_process() is None:
            command = f"blockqnn search --trainer 'python3 {sys.argv[0]}'"
            print(f"{sys.argv[0]} is to be started by a search, such as {command}", file=sys.stderr)
        return function
    # The search must not talk to programs that the function starts.
    del os.environ[CHILD]
    _serve(function, identity or _identity(function), rungs)
    sys.exit(0)


def unready(message):
    """Ends the search with this message, and this process: something that the trainer needs is missing."""
    if CHILD not in os.environ or multiprocessing.parent_process() is not None:
        raise SystemExit(message)

    def identity(settings):
        raise RuntimeError(message)

    run(lambda task: None, identity=identity)


def _identity(function):
    try:
        path = inspect.getsourcefile(function)
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()[:16]
    except (OSError, TypeError):
        raise TypeError("give run(..., identity=...): the file of the function is not known") from None
    return f"{function.__qualname__} of {os.path.basename(path)} sha256:{digest}"


def _serve(function, identity, rungs):
    # From here on, standard input and output belong to the search; whatever is printed goes to standard error.
    sys.stdout.flush()
    source = os.fdopen(os.dup(0), encoding="utf-8", newline="\n")
    sink = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    lines, lock = queue.SimpleQueue(), threading.Lock()

    def read():
        asked = threading.Event()
        for line in source:
            line = json.loads(line)
            if "stop" in line:
                # It is about the last task, even if that has ended.
                asked.set()
                continue
            asked = threading.Event()
            lines.put((line, asked))
        # The search is gone: nobody waits for what is evaluated here.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    def say(**line):
        text = json.dumps(line, allow_nan=False)
        with lock:
            sink.write(f"\n{MARK}{text}\n")
            sink.flush()

    threading.Thread(target=read, daemon=True).start()
    hello, _ = lines.get()
    if hello.get("protocol") != PROTOCOL:
        version = f"the search speaks version {hello.get('protocol')} of the protocol, but this file version {PROTOCOL}"
        advice = f"replace {os.path.basename(__file__)} with the one of the search's version of blockqnn"
        say(unready={"message": f"{version}: {advice}"})
        return
    if callable(identity):
        try:
            identity = identity(hello["briefing"])
        except Exception as error:
            if not isinstance(error, (RuntimeError, ValueError)):
                traceback.print_exc()
            say(unready={"message": _short(error)})
            return
    say(ready={"identity": identity, "protocol": PROTOCOL, "can_stop": True, **({"rungs": True} if rungs else {})})
    while True:
        line, asked = lines.get()
        task = Task(line, hello["briefing"], say, asked)
        outcome = _evaluate(function, task)
        if task.may_continue and task._continued_from is None:
            print(f"trial {task.trial}: attempt {task.attempt} started again from the first epoch", file=sys.stderr)
        say(
            done={
                "outcome": outcome,
                "condition": {"broken": False, "device_bytes": None},
                "resident_bytes": _resident_bytes(),
                "continued_from": task._continued_from,
            }
        )


def _evaluate(function, task):
    started = time.monotonic()
    try:
        metrics = _metrics(function(task), task, time.monotonic() - started)
        return {"evaluated": {"measured": metrics}}
    except Infeasible as infeasible:
        return {"evaluated": {"infeasible": infeasible.outcome}}
    except Exception as error:
        traceback.print_exc()
        text = f"{type(error).__name__}: {error}"
        # torch.cuda.OutOfMemoryError, by its name: this file imports nothing that may be missing.
        if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
            return {"evaluated": {"infeasible": OutOfMemory(text).outcome}}
        return {"fault": {"message": _short(text)}}


def _metrics(result, task, seconds):
    given = dict(result) if hasattr(result, "keys") else {"accuracy": result}
    unknown = [name for name in given if name not in METRICS]
    if unknown or ("accuracy" in given) == ("value" in given):
        allowed = ", ".join(METRICS)
        raise ValueError(
            f"the function returned {list(given)}: it must return an accuracy, or a dict of {allowed} with either "
            "accuracy or value"
        )
    name = "accuracy" if "accuracy" in given else "value"
    value, loss = float(given[name]), given.get("training_loss")
    measurements = {str(key): float(measured) for key, measured in dict(given.get("measurements", {})).items()}
    for what, number in [(name, value), *measurements.items()]:
        if not math.isfinite(number):
            raise Rejected(f"its {what} is {number}")
    if name == "accuracy" and not 0 <= value <= 100:
        raise ValueError(
            f"the accuracy is {value}, but it is in percent: 0 to 100. Return {{'value': {value}}} for another objective"
        )
    loss = None if loss is None else float(loss)
    curve = [(int(epoch), float(value)) for epoch, value in given.get("curve", task._curve)]
    # Without these, the answer is one that earlier versions understand.
    course = {"curve": [point for point in curve if math.isfinite(point[1])]} if curve else {}
    if given.get("stopped"):
        course["stopped"] = True
    return {
        name: value,
        "training_loss": loss if loss is not None and math.isfinite(loss) else None,
        "epochs": int(given.get("epochs", task._epoch)),
        "restarts": int(given.get("restarts", 0)),
        "seconds": float(given.get("seconds", seconds)),
        **course,
        "measurements": measurements,
    }


def _short(message):
    return str(message)[:LONGEST_MESSAGE]


def _resident_bytes():
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
