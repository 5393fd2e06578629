"""Speed of the training loop, compared with a hand-written loop and with skorch and its DataLoader.

    python benchmarks/training.py [--rows 60000] [--epochs 5]

There are 60,000 rows of 64 features, batches of 256 rows and one hidden layer. Each step is so short that the overhead
of the loop is visible. Times are median seconds per epoch.
"""

import argparse
import statistics
import time

import numpy as np
import torch
from measuring import add_json, report
from skorch import NeuralNetClassifier
from torch import nn

from sklinvariant._compat import FitReport
from sklinvariant.networks import Bags
from sklinvariant.training._batches import BagBatches
from sklinvariant.training._loop import train


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


class Loss(nn.Module):
    """The network with its loss, in the form that the training loop expects."""

    def __init__(self):
        super().__init__()
        self.network = network()

    def forward(self, batch):
        return nn.functional.cross_entropy(self.network(batch.bags.values), batch.target)


def by_hand(x, y, epochs):
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    seconds = []
    for _ in range(epochs):
        started = time.perf_counter()
        for index in torch.randperm(len(x)).split(256):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[index]), y[index])
            loss.backward()
            optimizer.step()
            loss.item()
        seconds.append(time.perf_counter() - started)
    return seconds


def by_ours(x, y, epochs):
    bags = Bags(x, np.arange(len(x) + 1))
    batches = BagBatches(bags, y, torch.ones(len(x)), batch_size=256, generator=torch.Generator())
    history = train(
        Loss(),
        batches,
        name="benchmark",
        max_epochs=epochs,
        optimizer=torch.optim.Adam,
        learning_rate=0.01,
        learning_rate_decay=None,
        tol=None,
        n_iter_no_change=5,
        report=FitReport(None, None, None, None, epochs),
        fitted_attributes=dict,
        finish=lambda history: history,
    )
    return [row["seconds"] for row in history]


def by_skorch(x, y, epochs):
    net = NeuralNetClassifier(
        network(),
        criterion=nn.CrossEntropyLoss,
        max_epochs=epochs,
        batch_size=256,
        optimizer=torch.optim.Adam,
        train_split=None,
        iterator_train__shuffle=True,
        callbacks__print_log=None,
    )
    net.fit(x, y)
    return [row["dur"] for row in net.history]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--epochs", type=int, default=5)
    add_json(parser)
    arguments = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(arguments.rows, 64, generator=generator)
    y = torch.randint(10, (arguments.rows,), generator=generator)
    hand = statistics.median(by_hand(x, y, arguments.epochs))
    print(f"{torch.get_num_threads()} threads, medians of {arguments.epochs} epochs\n")
    rows = [["by hand", f"{hand:.3f}", "1"]]
    for name, run in (("sklinvariant", by_ours), ("skorch's own", by_skorch)):
        seconds = statistics.median(run(x, y, arguments.epochs))
        rows.append([name, f"{seconds:.3f}", f"{seconds / hand:.2f}"])
    report("training", ["loop", "seconds per epoch", "time / the hand-written loop's"], rows, arguments)


if __name__ == "__main__":
    main()
