"""Rates perceptrons: wants 500 units in all, and smooth activations; more of them take longer."""
import blockqnn_worker


def evaluate(task):
    layers = task.architecture["layers"]
    units = sum(width for width, _ in layers)
    rough = sum(activation == "Relu" for _, activation in layers)
    latency = 0.2 * len(layers) + 0.004 * units
    accuracy = max(95 - abs(units - 500) / 20 - 2 * rough, 0)
    # Equal runs are equal to the last byte where no time is told.
    return {"accuracy": accuracy, "seconds": 0, "measurements": {"latency_ms": latency}}


blockqnn_worker.run(evaluate, identity="500 units 1")
