"""Sparse variational dropout: how many weights of LeNet-300-100 are needed."""

import torch
from torch import nn

from lib.datasets import load_mnist
from lib.experiments.experiment import Experiment, grid
from lib.experiments.recipes import train
from lib.layers import VariationalLinear

SIZES = (784, 300, 100, 10)


def sparse_trial(seed, *, method, epochs, n_train=None):
    """Train the plain network, or one whose weights have noise of their own."""
    data = load_mnist(n_train=n_train)
    is_variational = method == "variational"
    linear = VariationalLinear if is_variational else nn.Linear
    layers = [linear(*shape) for shape in zip(SIZES, SIZES[1:], strict=False)]
    model = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))[:-1]

    def penalty(_, done):
        """The KL a training example, its weight rising from 0 to 1 in the first half."""
        kl = sum(layer.kl() for layer in layers) if is_variational else 0.0
        return min(1.0, 2 * done) * kl / len(data.x_train)

    settings = {"batch_size": 100, "penalty": penalty, "optimizer": adam_to_zero}
    metrics = train(model, data, epochs, measure=("test_error", "test_loss"), **settings)
    weights = sum(layer.weight.numel() for layer in layers)
    kept = sum(int((~layer.pruned).sum()) for layer in layers) if is_variational else weights
    return metrics | {"compression": weights / kept, "weights_kept": kept}


def adam_to_zero(parameters, steps):
    """Adam, its rate falling to zero in a straight line, as in the authors' code."""
    optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=True)
    return optimizer, torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)


SPARSE_VARIATIONAL = Experiment(
    name="mnist-sparse-variational",
    title="LeNet-300-100 on MNIST, with the noise of every weight learned",
    paper="Molchanov et al. (2017)",
    configurations=grid(method=["plain", "variational"], epochs=30),
    metrics=("test_error", "test_loss", "compression", "weights_kept"),
    trial=sparse_trial,
    smallest={"epochs": 15, "n_train": 3000},
)
