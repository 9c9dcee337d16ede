"""Training steps of one network in PyTorch and in this crate, in turns, and the ratio of their speeds.

    cargo bench --bench trainer --no-run        # prints the path of the executable
    python3 benches/peers/compare.py target/release/deps/trainer-... [--threads 1 2] [--rounds 5] [--steps 2]

Any Python with torch will do. Both train the same block (conv3, conv3, add, conv1, concat; N = 1, 32 filters, three
stages, 32x32x3, batches of 64) with Adam. One side waits while the other works. The quickest round counts.
"""

import argparse
import importlib.util
import os
import subprocess
import tempfile
import time

BATCH = 64


class Ours:
    def __init__(self, executable, folder, threads):
        environment = dict(os.environ, BLOCKQNN_PEER=folder, RAYON_NUM_THREADS=str(threads))
        self.process = subprocess.Popen(
            [executable], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout.readline().strip() == "ready"

    def seconds(self, steps):
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Theirs:
    def __init__(self, folder, threads):
        import torch

        torch.set_num_threads(threads)
        torch.manual_seed(0)
        source = importlib.util.spec_from_file_location("exported", os.path.join(folder, "exported.py"))
        module = importlib.util.module_from_spec(source)
        source.loader.exec_module(module)
        networks = [
            kind
            for kind in vars(module).values()
            if isinstance(kind, type) and issubclass(kind, torch.nn.Module) and kind.__name__ == "Network"
        ]
        self.network = networks[0]().train()
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=0.001)
        self.images = torch.randn(BATCH, 3, 32, 32)
        self.labels = torch.arange(BATCH) % 10

    def seconds(self, steps):
        import torch

        start = time.perf_counter()
        for _ in range(steps):
            self.optimizer.zero_grad()
            torch.nn.functional.cross_entropy(self.network(self.images), self.labels).backward()
            self.optimizer.step()
        return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("executable", nargs="+", help="one build or several, to compare them in the same rounds")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2)
    arguments = parser.parse_args()
    import torch

    print(f"PyTorch {torch.__version__}; images a second, best of {arguments.rounds} rounds in turns")
    for threads in arguments.threads:
        with tempfile.TemporaryDirectory() as folder:
            ours = [Ours(executable, folder, threads) for executable in arguments.executable]
            sides = [Theirs(folder, threads), *ours]
            best = [float("inf")] * len(sides)
            for side in sides:
                side.seconds(1)
            for _ in range(arguments.rounds):
                for place, side in enumerate(sides):
                    best[place] = min(best[place], side.seconds(arguments.steps) / arguments.steps)
            for side in ours:
                side.close()
        speed = [BATCH / seconds for seconds in best]
        print(f"{threads} threads: PyTorch {speed[0]:.0f}")
        for executable, own in zip(arguments.executable, speed[1:]):
            print(f"  {os.path.basename(executable)}: {own:.0f}, ratio {own / speed[0]:.2f}")


if __name__ == "__main__":
    main()
