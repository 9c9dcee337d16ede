"""An example of a trainer in Python, with PyTorch:

    blockqnn search --trainer "python3 train.py" --epochs 2 --out run

Replace `images` with your own, and the body of `train` with your own training.
"""

import math

import blockqnn_worker

try:
    import torch
    from torch.nn import functional as F
except ImportError:
    message = "train.py needs PyTorch: install it (pip install torch), or replace its training with your own"
    raise SystemExit(message) from None

BATCH = 50


def images(count, seed):
    """Gray images of 28x28 with stripes in one of ten directions, shifted at random, under noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 10
    angle = labels.view(-1, 1, 1, 1) * (math.pi / 10)
    shift = 6.3 * torch.rand(count, 1, 1, 1, generator=generator)
    y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    stripes = torch.sin(0.9 * (x * torch.cos(angle) + y * torch.sin(angle)) + shift)
    return stripes + 0.5 * torch.randn(count, 1, 28, 28, generator=generator), labels


TRAINING, VALIDATION = images(1_000, seed=0), images(400, seed=1)


@blockqnn_worker.run(identity="stripes, Adam 0.003 cosine, batches of 50")
def train(task):
    torch.manual_seed(task.seed % 2**63)
    network = task.network()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, task.epochs)
    pixels, labels = TRAINING
    for epoch in range(task.epochs):
        network.train()
        order = torch.randperm(len(labels))
        for begin in range(0, len(labels), BATCH):
            batch = order[begin : begin + BATCH]
            loss = F.cross_entropy(network(pixels[batch]), labels[batch])
            if not torch.isfinite(loss):
                raise blockqnn_worker.Diverged(epoch + 1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            task.progress(epoch, fraction=begin / len(labels))
        schedule.step()
        task.progress(epoch + 1)
    network.eval()
    with torch.no_grad():
        correct = network(VALIDATION[0]).argmax(1) == VALIDATION[1]
    return {"accuracy": 100 * correct.float().mean(), "training_loss": loss.detach()}
