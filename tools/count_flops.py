"""Counts the multiply-adds of the networks of a contest in PyTorch, and compares them with its table.

    python3 tools/count_flops.py BLOCKQNN CONTEST

BLOCKQNN is the program, and CONTEST the folder of `blockqnn contest`. Every network is exported as PyTorch source with
its weights, and run on one image; the multiply-adds are those of its convolutions and linear layers. Ends with an error
if a network has others than `trainings.csv` says, or if two networks are further apart than 5 % to either side of one
cost. Needs torch.
"""

import argparse
import csv
import importlib.util
import pathlib
import subprocess
import sys
import tempfile

import torch


def exported(program, weights):
    """The network of a file of weights, and the shape of an image."""
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "network.py"
        subprocess.run([program, "export", weights, "--to", "pytorch", "--out", source], check=True)
        spec = importlib.util.spec_from_file_location("network", source)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        network, facts = module.load(weights)
    image = facts["architecture"]["network"]["image"]
    return network, (image["channels"], image["height"], image["width"])


def multiply_adds(network, shape):
    counted = []

    def count(layer, _, output):
        if isinstance(layer, torch.nn.Conv2d):
            each = layer.in_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]
        else:
            each = layer.in_features
        counted.append(each * output[0].numel())

    for layer in network.modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
            layer.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, *shape))
    return sum(counted)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("contest", type=pathlib.Path)
    given = parser.parse_args()
    found = {}
    for row in csv.DictReader((given.contest / "trainings.csv").open()):
        # Of the trainings of a block, one is enough.
        name = row["architecture"].split(", training ")[0]
        if name in found or not row["accuracy"]:
            continue
        folder = f"{row['fingerprint']}-{int(row['seed']):016x}"
        counted = multiply_adds(*exported(given.program, given.contest / "networks" / folder / "network.safetensors"))
        if counted != int(row["flops"]):
            sys.exit(f"{name}: PyTorch counts {counted} multiply-adds, and the table {row['flops']}")
        found[name] = counted
        print(f"{counted:>12} {name}")
    least, most = min(found.values()), max(found.values())
    if least * 1.05 < most * 0.95:
        sys.exit(f"the networks are not within 5 % of one cost: from {least} to {most} multiply-adds")
    print(f"{len(found)} networks have from {least} to {most} multiply-adds, the same in PyTorch")


if __name__ == "__main__":
    main()
