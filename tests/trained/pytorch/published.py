"""Holds the named blocks against torchvision's and against a network written here from the published genotypes.

    python3 tests/trained/pytorch/published.py FOLDER

FOLDER is written by published.rs: manifest.json names, for each block, its exported module and the cost of the network
that the module's Network is. Needs torch and torchvision.
"""

import importlib.util
import json
import pathlib
import sys

import torch
from torch import nn
from torchvision.models.densenet import _DenseLayer
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import BasicBlock, Bottleneck

# The width of the blocks that are compared with torchvision's.
WIDTH = 128

# Cells as published: what is applied to which state; states 0 and 1 are the cell before the last, and the last.
GENOTYPES = {
    "darts-v2": [
        ("sep_conv_3x3", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 1), ("skip_connect", 0), ("skip_connect", 0), ("dil_conv_3x3", 2),
    ],
    "nasnet-a": [
        ("sep_conv_5x5", 1), ("sep_conv_3x3", 0), ("sep_conv_5x5", 0), ("sep_conv_3x3", 0),
        ("avg_pool_3x3", 1), ("skip_connect", 0), ("avg_pool_3x3", 0), ("avg_pool_3x3", 0),
        ("sep_conv_3x3", 1), ("skip_connect", 1),
    ],
}  # fmt: skip


def separable(channels, kernel, dilation=1):
    """ReLU, depthwise convolution, convolution of one pixel, normalisation."""
    padding = dilation * (kernel // 2)
    return [
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel, padding=padding, dilation=dilation, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
    ]


def operation(name, channels):
    """An operation of a genotype."""
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    kernel = int(name[-1])
    if name.startswith("dil_conv"):
        return nn.Sequential(*separable(channels, kernel, dilation=2))
    return nn.Sequential(*separable(channels, kernel), *separable(channels, kernel))


def preprocess(inputs, channels):
    """What each input of a cell passes first."""
    return nn.Sequential(nn.ReLU(), nn.Conv2d(inputs, channels, 1, bias=False), nn.BatchNorm2d(channels))


class Cell(nn.Module):
    """A normal cell: each pair of operations is added up to a state, and all of those are put side by side."""

    def __init__(self, genotype, before, last, channels):
        super().__init__()
        self.inputs = nn.ModuleList([preprocess(before, channels), preprocess(last, channels)])
        self.operations = nn.ModuleList(operation(name, channels) for name, _ in genotype)
        self.states = [state for _, state in genotype]

    def forward(self, before, last):
        states = [self.inputs[0](before), self.inputs[1](last)]
        for first in range(0, len(self.operations), 2):
            terms = [self.operations[number](states[self.states[number]]) for number in (first, first + 1)]
            states.append(terms[0] + terms[1])
        return torch.cat(states[2:], dim=1)


class Macro(nn.Module):
    """Cells between a stem and a classifier, with a max pool between two stages."""

    def __init__(self, genotype, config):
        super().__init__()
        width = config["width"]
        self.stem = nn.Conv2d(config["image"]["channels"], width, 3, padding=1, bias=False)
        before = last = width
        self.stages = nn.ModuleList()
        for stage in range(config["stages"]):
            cells = nn.ModuleList()
            for _ in range(config["repeats"]):
                channels = width * 2**stage
                cells.append(Cell(genotype, before, last, channels))
                before, last = last, channels * (len(genotype) // 2)
            self.stages.append(cells)
        self.normalisation = nn.BatchNorm2d(last)
        self.classifier = nn.Linear(last, config["classes"])

    def forward(self, images):
        before = last = self.stem(images)
        for number, cells in enumerate(self.stages):
            if number > 0:
                before, last = (nn.functional.max_pool2d(state, 2) for state in (before, last))
            for cell in cells:
                before, last = last, cell(before, last)
        return self.classifier(torch.relu(self.normalisation(last)).mean(dim=(2, 3)))


class DenseLayers(nn.Module):
    """Four of torchvision's dense layers."""

    def __init__(self):
        super().__init__()
        growth = WIDTH // 4
        self.layers = nn.ModuleList(_DenseLayer(WIDTH + number * growth, growth, 4, 0.0) for number in range(4))

    def forward(self, x):
        features = [x]
        for layer in self.layers:
            features.append(layer(features))
        return torch.cat(features, dim=1)


# torchvision's blocks between WIDTH channels, ResNeXt's as in its resnext50_32x4d.
TORCHVISION = {
    "resnet-basic": lambda: BasicBlock(WIDTH, WIDTH),
    "resnet-bottleneck": lambda: Bottleneck(WIDTH, WIDTH // 4),
    "resnext": lambda: Bottleneck(WIDTH, WIDTH // 4, groups=32, base_width=4),
    "mobilenet-v2": lambda: InvertedResidual(WIDTH, WIDTH, 1, 6),
    "dense": DenseLayers,
}


def load_module(path):
    """Imports a Python file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parameters(module):
    """The number of trained numbers."""
    return sum(parameter.numel() for parameter in module.parameters())


def multiply_adds(network, image):
    """Multiply-adds of convolutions and linear layers for one image."""
    total = 0

    def count(module, _inputs, output):
        nonlocal total
        total += output.numel() * module.weight[0].numel()

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    network(image)
    return total


def deviation(ours, theirs, inputs):
    """The largest difference of the outputs with equal weights, whose order is that of the layers in both."""
    for module in ours.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.5)
    ours_state, theirs_state = ours.state_dict(), theirs.state_dict()
    assert len(ours_state) == len(theirs_state), (list(ours_state), list(theirs_state))
    theirs.load_state_dict(dict(zip(theirs_state, ours_state.values())))
    ours.eval()
    theirs.eval()
    with torch.no_grad():
        wanted = theirs(inputs)
        # Relative to the size of the numbers, which a deep block of random weights makes large.
        return ((ours(inputs) - wanted).abs().max() / wanted.abs().max().clamp(min=1.0)).item()


def main():
    """Compares all blocks of the folder."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    folder = pathlib.Path(sys.argv[1])
    manifest = json.loads((folder / "manifest.json").read_text())
    config = manifest["network"]
    shape = [config["image"][side] for side in ("channels", "height", "width")]
    compared = set()
    for case in manifest["blocks"]:
        name = case["name"]
        source = load_module(folder / case["module"])
        if name in GENOTYPES:
            theirs = Macro(GENOTYPES[name], config)
            counts = parameters(theirs), multiply_adds(theirs, torch.zeros(1, *shape))
            assert counts == (case["parameters"], case["flops"]), f"{name}: {counts}, not {case}"
            far = deviation(source.Network(), theirs, torch.randn(4, *shape))
        elif name in TORCHVISION:
            ours, theirs = source.Block(WIDTH, WIDTH), TORCHVISION[name]()
            counts = parameters(ours), parameters(theirs)
            assert counts[0] == counts[1], f"{name}: {counts}"
            far = deviation(ours, theirs, torch.randn(4, WIDTH, 9, 7))
        else:
            continue
        print(f"{name}: {counts}, largest deviation {far:.1e}")
        assert far < 1e-4, name
        compared.add(name)
    missing = (set(GENOTYPES) | set(TORCHVISION)) - compared
    assert not missing, missing


if __name__ == "__main__":
    main()
