"""Trains what a blockqnn search proposes with PyTorch, by the search's own recipe, on the search's own images.

    blockqnn search --trainer torch

starts it. It needs torch, numpy and blockqnn_worker.py beside it. Weights begin as blockqnn draws them, and batches
have the same images in the same order, changed by the same draws: the random streams below are those of blockqnn, bit
for bit. What a setting means is documented in blockqnn's `Recipe`, and `fit` follows its `Training::fit` step by step.
"""

import copy
import hashlib
import json
import math
import os
import sys
import time

import blockqnn_worker

# Processes share the cores: a thread that waits must leave its core to others. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

try:
    import numpy as np
    import torch
    from torch import nn
    from torch.nn import functional as F
except ImportError as error:
    blockqnn_worker.unready(
        f"{sys.executable} has no PyTorch ({error}): install it (Debian: apt install python3-torch; elsewhere: pip "
        "install torch numpy), or name a Python that has it in the variable BLOCKQNN_PYTHON"
    )

WEIGHTS_AT_A_TIME = 1 << 20
MAX_PARAMETERS = 2**31 - 1
WHOLE = 2.0**-53


# ---- Random streams: src/seed.rs ----


class Stream:
    """The random stream of a seed, a purpose and a number: ChaCha with 8 rounds, as unsigned integers of 64 bits."""

    def __init__(self, seed, purpose, number):
        purpose = purpose.encode()
        parts = [seed.to_bytes(8, "little"), len(purpose).to_bytes(8, "little"), purpose, number.to_bytes(8, "little")]
        key = hashlib.sha256(b"blockqnn seed 1" + b"".join(parts)).digest()
        self._key = np.frombuffer(b"expand 32-byte k" + key, dtype="<u4")
        self._block = 0
        self._left = np.empty(0, dtype="<u8")

    def draw(self, count):
        """The next `count` numbers."""
        if count > len(self._left):
            blocks = max(-(-(count - len(self._left)) // 8), 16)
            self._left = np.concatenate([self._left, self._blocks(blocks)])
        drawn, self._left = self._left[:count], self._left[count:]
        return drawn

    def _blocks(self, count):
        numbers = np.arange(self._block, self._block + count, dtype="<u8")
        self._block += count
        begin = np.zeros((16, count), dtype="<u4")
        begin[:12] = self._key[:, None]
        begin[12], begin[13] = numbers & 0xFFFFFFFF, numbers >> 32
        rows = [begin[4 * row : 4 * row + 4].copy() for row in range(4)]
        for _ in range(4):
            _quarter_round(*rows)
            rows = [np.roll(row, -number, axis=0) for number, row in enumerate(rows)]
            _quarter_round(*rows)
            rows = [np.roll(row, number, axis=0) for number, row in enumerate(rows)]
        words = np.concatenate(rows) + begin
        return np.ascontiguousarray(words.T).reshape(-1).view("<u8")

    def indices(self, bounds):
        """For each bound, below 2^32, a uniform number below it."""
        bounds = np.asarray(bounds, dtype="<u8")
        found = np.empty(len(bounds), dtype=np.int64)
        # Lemire's method: the high half of the product with a word, unless the low half is one of the few that bias it.
        rejected = (np.uint64(0) - bounds) % bounds
        done = 0
        while done < len(bounds):
            words, bound = self.draw(len(bounds) - done), bounds[done:]
            high = ((words >> 32) * bound + ((words & 0xFFFFFFFF) * bound >> 32)) >> 32
            bad = np.flatnonzero(words * bound < rejected[done:])
            good = bad[0] if len(bad) else len(bound)
            found[done : done + good] = high[:good]
            done += good
            self._left = np.concatenate([words[good + 1 :], self._left])
        return found

    def shuffled(self, count):
        """The numbers below `count` in random order."""
        order = list(range(count))
        for last, other in zip(range(count - 1, 0, -1), self.indices(np.arange(count, 1, -1)).tolist()):
            order[last], order[other] = order[other], order[last]
        return np.array(order, dtype=np.int64)

    def normal(self, count, deviation):
        """Normal numbers with mean 0, in single precision."""
        parts = []
        while count > 0:
            some = min(count, WEIGHTS_AT_A_TIME)
            count -= some
            units = (self.draw(2 * some) >> 11) * WHOLE
            first, second = units[0::2], units[1::2]
            found = deviation * (np.sqrt(-2.0 * np.log(1.0 - first)) * np.cos(math.tau * second))
            low, high = (found * (1 + error) for error in (-4e-15, 4e-15))
            single = found.astype(np.float32)
            # numpy's functions may be wrong in the last bits of double precision, and so rarely in single precision.
            for close in np.flatnonzero(low.astype(np.float32) != high.astype(np.float32)):
                radius = math.sqrt(-2.0 * math.log(1.0 - first[close]))
                single[close] = deviation * (radius * math.cos(math.tau * second[close]))
            parts.append(single)
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)


def _quarter_round(a, b, c, d):
    for to, other, turned, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        to += other
        turned ^= to
        turned[:] = (turned << bits) | (turned >> (32 - bits))


# ---- Networks: src/network ----


class Convolution(nn.Conv2d):
    """Computes in the type of its input."""

    def forward(self, images):
        bias = None if self.bias is None else self.bias.to(images.dtype)
        weight = self.weight.to(images.dtype)
        return F.conv2d(images, weight, bias, self.stride, self.padding, self.dilation, self.groups)


class Normalisation(nn.BatchNorm2d):
    """Computes in single precision. Its running variance is that of the batch, without PyTorch's factor n / (n - 1)."""

    is_last = False

    def forward(self, images):
        single = images.float()
        if self.training:
            found, mean, deviation = torch.native_batch_norm(
                single, self.weight, self.bias, None, None, True, 0.0, self.eps
            )
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(deviation.pow(-2) - self.eps, self.momentum)
        else:
            found = F.batch_norm(single, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return found if self.is_last else found.to(images.dtype)


def prepare(network):
    """Makes a network of exported source compute as blockqnn does."""
    for module in network.modules():
        if type(module) is nn.Conv2d:
            module.__class__ = Convolution
        elif type(module) is nn.BatchNorm2d:
            module.__class__ = Normalisation
    # The head computes in single precision.
    network.normalisation.is_last = True
    return network


class Paths:
    """What layers give to sums, in all blocks: each is multiplied by a factor for each image while there are factors."""

    def __init__(self, network, paths):
        self.factors, self.count = None, 0
        for stage in network.stages:
            for block in stage.children():
                self.hook(block, paths)

    def hook(self, block, paths):
        """`paths` has a list for each sum and its place in the block: the inputs that can be dropped."""
        for node, inputs in paths:
            numbers = dict(zip(inputs, range(self.count, self.count + len(inputs))))
            self.count += len(inputs)

            def multiply(_, arguments, numbers=numbers):
                if self.factors is None:
                    return None
                (terms,) = arguments
                return ([self.multiplied(term, numbers.get(place)) for place, term in enumerate(terms)],)

            getattr(block, f"layer{node}").register_forward_pre_hook(multiply)

    def multiplied(self, term, number):
        if number is None:
            return term
        return term * self.factors[number].reshape(-1, 1, 1, 1).to(term.dtype)


def initialise(network, seed, restarts):
    """Draws the weights of an attempt."""
    stream = Stream(seed, "weights", restarts)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                weight = module.weight
                fan_in = weight[0].numel()
                values = torch.from_numpy(stream.normal(weight.numel(), math.sqrt(2.0 / fan_in)))
                # blockqnn draws those of a linear layer by input.
                is_linear = isinstance(module, nn.Linear)
                weight.copy_(values.reshape(weight.shape[::-1]).t() if is_linear else values.reshape(weight.shape))
                if module.bias is not None:
                    module.bias.zero_()
    return network


# ---- Files: safetensors ----

TYPES = {"U8": "u1", "I32": "<i4", "I64": "<i8", "F32": "<f4"}


def read_tensors(path):
    """The arrays of a safetensors file by name, and its metadata."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    facts = header.pop("__metadata__", {})
    arrays = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        arrays[name] = np.frombuffer(data[begin:end], dtype=TYPES[entry["dtype"]]).reshape(entry["shape"])
    return arrays, facts


def write_tensors(path, tensors, facts):
    """Writes named tensors as a safetensors file, in one step."""
    header, data, end = {"__metadata__": facts}, [], 0
    for name, tensor in tensors.items():
        array = tensor.detach().cpu().numpy()
        kind = {"f": "F32", "i": "I64"}[array.dtype.kind]
        data.append(array.astype(TYPES[kind]).tobytes())
        begin, end = end, end + len(data[-1])
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    write(path, lambda file: file.writelines([len(text).to_bytes(8, "little"), text, *data]))


def write(path, content):
    """Writes a file that is there completely or not at all."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    unfinished = f"{path}.{os.getpid()}.tmp"
    try:
        with open(unfinished, "wb") as file:
            content(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        if os.path.exists(unfinished):
            os.remove(unfinished)
        raise


# ---- Images: src/data ----


class Images:
    """A part of the split on a device, from which normalised batches are taken."""

    def __init__(self, pixels, labels, facts, device):
        self.pixels = torch.tensor(pixels, device=device)
        self.labels = torch.tensor(labels, dtype=torch.int64, device=device)
        channels = [np.array(facts[name], dtype=np.float32) for name in ("mean", "deviation")]
        mean, deviation = (values.reshape(1, -1, 1, 1) for values in channels)
        self.scale = torch.from_numpy(np.float32(1.0) / (np.float32(255.0) * deviation)).to(device)
        self.offset = torch.from_numpy(-mean / deviation).to(device)
        self.device = device

    def __len__(self):
        return len(self.labels)

    def batch(self, indices, augmentation=None, draws=None):
        """The images at these indices, changed as drawn, and their labels."""
        indices = torch.from_numpy(np.asarray(indices)).to(self.device)
        if draws is None:
            return self.pixels[indices].float() * self.scale + self.offset, self.labels[indices]
        draws = {name: torch.from_numpy(column).to(self.device) for name, column in draws.items()}
        images = self.moved(indices, draws) * self.scale + self.offset
        if "hole_row" in draws:
            images = images * ~self.hole(draws, augmentation["cutout"])
        return images, self.labels[indices]

    def moved(self, indices, draws):
        """Cropped from black surroundings, then mirrored."""
        height, width = self.pixels.shape[2:]
        rows = torch.arange(height, device=self.device).expand(len(indices), height)
        columns = torch.arange(width, device=self.device).expand(len(indices), width)
        if "flip" in draws:
            columns = torch.where(draws["flip"][:, None] == 1, width - 1 - columns, columns)
        if "down" in draws:
            rows, columns = rows + draws["down"][:, None], columns + draws["right"][:, None]
        near_rows, near_columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
        taken = self.pixels[indices[:, None, None], :, near_rows[:, :, None], near_columns[:, None, :]]
        inside = (rows == near_rows)[:, :, None] & (columns == near_columns)[:, None, :]
        return (taken * inside[..., None]).permute(0, 3, 1, 2).float().contiguous()

    def hole(self, draws, side):
        """Where the blanked squares are."""

        def covered(length, centre):
            offset = torch.arange(length, device=self.device)[None] - (centre[:, None] - side // 2)
            return (offset >= 0) & (offset < side)

        height, width = self.pixels.shape[2:]
        rows, columns = covered(height, draws["hole_row"]), covered(width, draws["hole_column"])
        return (rows[:, :, None] & columns[:, None, :])[:, None]


def draws(augmentation, images, shape, seed, epoch):
    """The random numbers of an epoch's images, in its order, or None if nothing is changed."""
    pad, (height, width) = augmentation.get("pad", 0), shape
    columns = {}
    if pad > 0:
        columns.update(down=2 * pad + 1, right=2 * pad + 1)
    if augmentation.get("flip"):
        columns.update(flip=2)
    if augmentation.get("cutout", 0) > 0:
        columns.update(hole_row=height, hole_column=width)
    if not columns:
        return None
    numbers = Stream(seed, "augment", epoch).indices(list(columns.values()) * images).reshape(images, len(columns))
    found = {name: np.ascontiguousarray(numbers[:, column]) for column, name in enumerate(columns)}
    return {name: column - pad if name in ("down", "right") else column for name, column in found.items()}


# ---- Training: src/train ----


def learning_rate_at(recipe, epoch, restarts):
    """The learning rate of an epoch, from 0."""

    def times(value, factor, count):
        for _ in range(count):
            value *= factor
        return value

    rate = times(recipe["learning_rate"], recipe["restarts"]["factor"], restarts)
    warm_up = recipe.get("warm_up_epochs", 0)
    if epoch < warm_up:
        rate *= (epoch + 1) / (warm_up + 1.0)
    schedule = recipe["schedule"]
    if schedule == "constant":
        return rate
    if schedule == "cosine":
        done = min(epoch, recipe["epochs"]) / max(recipe["epochs"], 1)
        return rate * ((1.0 + math.cos(math.pi * done)) / 2)
    ((kind, settings),) = schedule.items()
    if kind == "step":
        return times(rate, settings["factor"], epoch // max(settings["every"], 1))
    if kind == "milestones":
        return times(rate, settings["factor"], sum(milestone <= epoch for milestone in settings["epochs"]))
    raise ValueError(f"unknown schedule {kind!r}: use the torch_trainer.py of the search's version of blockqnn")


def drop_path_at(recipe, epoch):
    """The probability with which a path is dropped in an epoch, from 0."""
    return recipe.get("drop_path", 0.0) * min(epoch, recipe["epochs"]) / max(recipe["epochs"], 1)


def drop_factors(rate, paths, images, seed, epoch, batch):
    """What the paths of a batch are multiplied by: a row for each path, with a number for each image."""
    epoch_seed = int(Stream(seed, "drops", epoch).draw(1)[0])
    units = (Stream(epoch_seed, "drop", batch).draw(paths * images) >> 11) * WHOLE
    factors = np.where(units < rate, np.float32(0.0), np.float32(1.0 / (1.0 - rate)))
    return torch.from_numpy(factors.reshape(paths, images))


def new_optimizer(network, optimizer):
    ((kind, settings),) = optimizer.items()
    if kind == "adam":
        betas = (settings["beta_1"], settings["beta_2"])
        return torch.optim.Adam(network.parameters(), lr=0.0, betas=betas, eps=settings["epsilon"])
    if kind == "sgd":
        momentum, decay = settings["momentum"], settings["weight_decay"]
        return torch.optim.SGD(network.parameters(), lr=0.0, momentum=momentum, weight_decay=decay)
    raise ValueError(f"unknown optimizer {kind!r}: use the torch_trainer.py of the search's version of blockqnn")


class NoBetterThanChance(Exception):
    pass


class NotFinite(Exception):
    def __init__(self, epoch):
        self.epoch = epoch


class Attempt:
    """A network with its optimizer, between two epochs."""

    def __init__(self, network, recipe, restarts, paths):
        self.network, self.restarts = network, restarts
        self.paths = Paths(network, paths)
        self.optimizer = new_optimizer(network, recipe["optimizer"])
        self.epochs = []
        self.average = None
        if recipe.get("weight_averaging") is not None:
            self.average = {name: value.clone() for name, value in self.values()}

    def values(self):
        return [(name, value) for name, value in self.network.state_dict().items() if value.is_floating_point()]

    def keep_average(self, decay):
        with torch.no_grad():
            for name, value in self.values():
                self.average[name].mul_(decay).add_(value, alpha=1.0 - decay)

    def measured(self):
        """The network whose accuracy counts."""
        if self.average is None:
            return self.network
        network = copy.deepcopy(self.network)
        network.load_state_dict(self.average, strict=False)
        return network


class Trainer:
    """What all trainings of this process share."""

    def __init__(self, settings):
        self.settings, self.recipe = settings, settings["recipe"]
        self.device = device_of(settings.get("device"), settings.get("probe", False))
        version = torch.__version__.split("+")[0]
        compiled = ", compiled" if settings.get("compile") else ""
        self.identity = f"{settings['identity']}, trained by PyTorch {version} on {self.device.type}{compiled}"
        if settings.get("compile") and self.recipe.get("drop_path", 0.0) > 0.0:
            raise ValueError("compiled networks drop no paths: set recipe.drop_path to 0, or omit torch.compile")
        if settings.get("compile") and not hasattr(torch, "compile"):
            raise ValueError(f"torch.compile needs PyTorch 2, but this is {version}: omit it, or install a newer one")
        self.dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[self.recipe.get("precision", "f32")]
        if settings.get("probe"):
            return
        if settings.get("threads"):
            torch.set_num_threads(settings["threads"])
        check_type(self.device, self.dtype)
        self.training, self.validation, facts = read_split(settings["split"], self.device)
        self.classes = len(facts["classes"])
        self.finished = None

    def evaluate(self, task):
        if self.finished:
            # Its result has arrived: nobody asks for that training again.
            remove(self.finished)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        parameters = (task.cost or {}).get("parameters", 0)
        if parameters > MAX_PARAMETERS:
            raise blockqnn_worker.Rejected(
                f"a number of parameters of {parameters} exceeds the limit of {MAX_PARAMETERS}"
            )
        training = Training(self, task)
        try:
            measured = training.fit()
        except blockqnn_worker.Infeasible:
            remove(training.checkpoint)
            raise
        except (RuntimeError, MemoryError) as error:
            # CUDA, Apple's cards, and the CPU.
            signs = ("out of memory", "can't allocate memory", "not enough memory")
            if isinstance(error, MemoryError) or any(sign in str(error) for sign in signs):
                remove(training.checkpoint)
                raise blockqnn_worker.OutOfMemory(str(error)) from None
            raise
        # One that ends at a rung may be continued.
        self.finished = training.checkpoint if training.is_whole else None
        return measured


class Training:
    """One training."""

    def __init__(self, trainer, task):
        self.of, self.task = trainer, task
        self.recipe = dict(trainer.recipe, epochs=task.full_epochs or trainer.recipe["epochs"])
        self.end = min(task.epochs or self.recipe["epochs"], self.recipe["epochs"])
        self.is_whole = self.end == self.recipe["epochs"]
        self.smoothing = self.recipe.get("label_smoothing", 0.0)
        self.augmentation = self.recipe.get("augmentation", {})
        folder = trainer.settings.get("folder")
        self.folder = folder and os.path.join(folder, f"{task.fingerprint}-{task.seed:016x}")
        self.checkpoint = folder and os.path.join(self.folder, "checkpoint.pt")
        self.before, self.started, self.saved = 0.0, time.monotonic(), time.monotonic()
        self.of_lower_rungs = 0.0

    def seconds(self):
        return self.before + time.monotonic() - self.started

    def fit(self):
        """Trains attempts until one counts."""
        attempt = self.continued() or self.begin(0)
        while True:
            may_restart = attempt.restarts < self.recipe["restarts"]["max"]
            try:
                return self.run(attempt, may_restart)
            except NoBetterThanChance:
                pass
            except NotFinite as stop:
                if not may_restart:
                    raise blockqnn_worker.Diverged(stop.epoch, attempt.restarts) from None
            attempt = self.begin(attempt.restarts + 1)

    def begin(self, restarts):
        network = initialise(prepare(self.task.network()), self.task.seed, restarts)
        paths = self.task.forms["paths"] if self.recipe.get("drop_path", 0.0) > 0.0 else []
        return Attempt(network.to(self.of.device), self.recipe, restarts, paths)

    def run(self, attempt, may_restart):
        """Runs the remaining epochs of an attempt."""
        forward = torch.compile(attempt.network) if self.of.settings.get("compile") else attempt.network
        epochs = self.end
        for epoch in range(len(attempt.epochs) + 1, epochs + 1):
            loss = self.train(attempt, forward, epoch - 1)
            is_last, is_trial = epoch == epochs, epoch == 1 and may_restart
            correct = None
            is_asked = not is_last and self.task.should_stop
            if is_last or is_asked or self.is_measured(epoch, attempt.restarts):
                network = attempt.measured()
                # An average is measured without being compiled.
                measured = forward if network is attempt.network else network
                validation_loss, correct = self.measure(measured, attempt, epoch - 1)
                if not math.isfinite(validation_loss):
                    raise NotFinite(epoch)
            loss = loss.item()
            if not math.isfinite(loss):
                raise NotFinite(epoch)
            images = len(self.of.validation)
            accuracy = None if correct is None else 100.0 * correct / images
            rate = learning_rate_at(self.recipe, epoch - 1, attempt.restarts)
            attempt.epochs.append((rate, loss, accuracy, self.seconds()))
            self.log(attempt.epochs)
            if accuracy is not None:
                self.task.progress(epoch, epochs, attempt.restarts, accuracy=accuracy)
            if is_trial and not correct * self.of.classes > images:
                raise NoBetterThanChance()
            is_stopped = accuracy is not None and not is_last and self.task.should_stop
            if is_last or is_stopped:
                seconds = self.seconds() - self.of_lower_rungs
                if is_last and self.is_whole:
                    self.keep(network)
                elif is_last:
                    self.of_lower_rungs = self.seconds()
                    self.save(attempt, always=True)
                facts = {"epochs": epoch, "restarts": attempt.restarts, "seconds": seconds}
                return {"accuracy": accuracy, "training_loss": loss, "stopped": is_stopped, **facts}
            self.save(attempt)
        raise AssertionError("an attempt has epochs left")

    def is_measured(self, epoch, restarts):
        """Whether the accuracy is measured after an epoch at which the training does not end."""
        every = self.recipe.get("measure_every")
        may_restart = restarts < self.recipe["restarts"]["max"]
        return (epoch == 1 and may_restart) or bool(every and epoch % every == 0)

    def train(self, attempt, forward, epoch):
        """Trains for an epoch, and returns its mean loss."""
        images, size, seed = self.of.training, self.recipe["batch_size"], self.task.seed
        rate, number = learning_rate_at(self.recipe, epoch, attempt.restarts), attempt.restarts << 32 | epoch
        for group in attempt.optimizer.param_groups:
            group["lr"] = rate
        order = Stream(seed, "epoch", number).shuffled(len(images))
        drawn = draws(self.augmentation, len(images), images.pixels.shape[2:], seed, number)
        dropped = drop_path_at(self.recipe, epoch)
        mean = torch.zeros((), device=self.of.device)
        attempt.network.train()
        for begin in range(0, len(images), size):
            self.check_time()
            batch = slice(begin, begin + size)
            own = drawn and {name: column[batch] for name, column in drawn.items()}
            pixels, labels = images.batch(order[batch], self.augmentation, own)
            if dropped > 0.0 and attempt.paths.count > 0:
                count, place = attempt.paths.count, begin // size
                factors = drop_factors(dropped, count, len(labels), seed, number, place)
                attempt.paths.factors = factors.to(self.of.device)
            logits = forward(pixels.to(self.of.dtype))
            attempt.paths.factors = None
            loss = F.cross_entropy(logits, labels, label_smoothing=self.smoothing)
            attempt.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            attempt.optimizer.step()
            if attempt.average is not None:
                attempt.keep_average(self.recipe["weight_averaging"])
            mean += loss.detach() * (len(labels) / len(images))
            done = (begin + len(labels)) / len(images)
            self.task.progress(epoch, self.end, attempt.restarts, done)
        return mean

    def measure(self, network, attempt, epoch):
        """The mean loss, and how many validation images are classified correctly."""
        images, size = self.of.validation, self.recipe["batch_size"]
        mean = torch.zeros((), device=self.of.device)
        correct = torch.zeros((), dtype=torch.int64, device=self.of.device)
        network.eval()
        with torch.no_grad():
            for begin in range(0, len(images), size):
                self.check_time()
                pixels, labels = images.batch(np.arange(begin, min(begin + size, len(images))))
                logits = network(pixels.to(self.of.dtype))
                correct += (logits.argmax(1) == labels).sum()
                mean += F.cross_entropy(logits, labels) * (len(labels) / len(images))
                self.task.progress(epoch, self.end, attempt.restarts, 1.0)
        return mean.item(), correct.item()

    def check_time(self):
        limit = self.recipe.get("time_limit_seconds")
        if limit is not None and self.seconds() >= limit:
            raise blockqnn_worker.OverTime(limit)

    # ---- Files of a training ----

    def describe(self):
        """What must be the same for a training to be continued, perhaps for more epochs."""
        recipe = dict(self.recipe)
        if recipe["schedule"] != "cosine" and recipe.get("drop_path", 0.0) == 0.0:
            del recipe["epochs"]
        return json.dumps([self.of.identity, recipe, self.task.seed, self.task.fingerprint], sort_keys=True)

    def save(self, attempt, always=False):
        """Keeps the state after an epoch, unless another was kept just before."""
        is_due = always or time.monotonic() - self.saved >= self.of.settings["every"]
        if not self.checkpoint or not is_due:
            return
        state = {
            "of": self.describe(),
            "network": attempt.network.state_dict(),
            "optimizer": attempt.optimizer.state_dict(),
            "average": attempt.average,
            "restarts": attempt.restarts,
            "epochs": attempt.epochs,
            "seconds": self.seconds(),
            "of_lower_rungs": self.of_lower_rungs,
        }
        write(self.checkpoint, lambda file: torch.save(state, file))
        self.saved = time.monotonic()

    def continued(self):
        """The attempt that an earlier process left, if there is one."""
        if not self.checkpoint or not os.path.exists(self.checkpoint):
            return None
        try:
            state = torch.load(self.checkpoint, map_location=self.of.device)
            if state["of"] != self.describe() or len(state["epochs"]) >= self.end:
                return None
            attempt = self.begin(state["restarts"])
            attempt.network.load_state_dict(state["network"])
            attempt.optimizer.load_state_dict(state["optimizer"])
        except Exception as error:
            # A checkpoint of another version, or a damaged one, costs time and no result.
            print(f"{self.checkpoint} cannot be used ({error}): the training starts again", file=sys.stderr)
            return None
        attempt.average, self.before = state["average"], state["seconds"]
        self.of_lower_rungs = state.get("of_lower_rungs", 0.0)
        for epoch, (rate, loss, accuracy, seconds) in enumerate(state["epochs"], 1):
            # The end of a lower rung is no point of this curve, so that it is that of a training that was not continued.
            accuracy = accuracy if self.is_measured(epoch, attempt.restarts) else None
            attempt.epochs.append((rate, loss, accuracy, seconds))
            if accuracy is not None:
                self.task.progress(epoch, self.end, attempt.restarts, accuracy=accuracy)
        self.task.continued_from(len(attempt.epochs))
        return attempt

    def log(self, epochs):
        if not self.of.settings.get("keep"):
            return
        lines, before = ["epoch,learning_rate,training_loss,accuracy,seconds,images_per_second"], 0.0
        for number, (rate, loss, accuracy, seconds) in enumerate(epochs, 1):
            speed, before = len(self.of.training) / max(seconds - before, 1e-9), seconds
            accuracy = "" if accuracy is None else accuracy
            lines.append(f"{number},{rate},{loss},{accuracy},{seconds:.3f},{speed:.1f}")
        text = "\n".join([*lines, ""]).encode()
        write(os.path.join(self.folder, "epochs.csv"), lambda file: file.write(text))

    def keep(self, network):
        """Writes the network as blockqnn does, so that it can be exported and used."""
        facts = self.task.forms.get("classifier")
        if self.of.settings.get("keep") and facts:
            path = os.path.join(self.folder, "network.safetensors")
            write_tensors(path, network.state_dict(), {"classifier": facts})


def remove(checkpoint):
    try:
        os.remove(checkpoint or "")
        os.rmdir(os.path.dirname(checkpoint))
    except OSError:
        pass  # There is none, or a network beside it.


def device_of(name, is_named_only):
    """The device of a name. By default a CUDA card if there is one, otherwise the CPU."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise ValueError(f"PyTorch trains on cpu, cuda, cuda:N or mps, but the device is {name!r}: choose one of these")
    if is_named_only:
        return device
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count, build = torch.cuda.device_count(), torch.version.cuda or "none"
        found = f"PyTorch {torch.__version__} (CUDA: {build}) finds {count} cards"
        raise ValueError(f"there is no {device}: {found}; choose another device, such as cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError("there is no mps, the card of a Mac: choose another device, such as cpu")
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        # Gradients of max pools have no other kernel: results may differ in their last bits.
        torch.use_deterministic_algorithms(True, warn_only=True)
    return device


def check_type(device, dtype):
    try:
        F.conv2d(*torch.zeros(2, 1, 1, 3, 3, dtype=dtype, device=device))
    except RuntimeError as error:
        raise ValueError(f"{device} cannot compute with {dtype} ({error}): set recipe.precision to f32") from None


def read_split(split, device):
    """The training images, the validation images, and the facts of a split that the search wrote."""
    path, digest = split["path"], hashlib.sha256()
    with open(path, "rb") as file:
        for part in iter(lambda: file.read(1 << 20), b""):
            digest.update(part)
    if digest.hexdigest() != split["sha256"]:
        raise ValueError(f"{path} is not the split that the search wrote: delete it, and start again")
    arrays, facts = read_tensors(path)
    facts = json.loads(facts["split"])

    def part(name):
        return Images(arrays[f"{name}.pixels"], arrays[f"{name}.labels"], facts, device)

    return part("training"), part("validation"), facts


def main():
    trainers = []

    def identity(settings):
        if "torch" not in settings:
            raise ValueError("torch_trainer.py is started by blockqnn search --trainer torch")
        trainers.append(Trainer(settings["torch"]))
        return trainers[0].identity

    blockqnn_worker.run(lambda task: trainers[0].evaluate(task), identity=identity, rungs=True)


if __name__ == "__main__":
    main()
