"""Sparse variational dropout: how many weights of LeNet-300-100 are needed."""

import torch
from torch import nn

from lib.datasets import load_mnist
from lib.experiments.experiment import Experiment
from lib.layers import VariationalLinear
from lib.training import classification_loss, fit

SIZES = (784, 300, 100, 10)


class Bound:
    """Cross-entropy, and in training the KL a training example, its weight rising from 0 to 1."""

    def __init__(self, model, n_train, warm_up):
        self.layers = [each for each in model if isinstance(each, VariationalLinear)]
        self.n_train, self.warm_up, self.step = n_train, warm_up, 0

    def __call__(self, logits, y):
        loss = classification_loss(logits, y)
        if not torch.is_grad_enabled() or not self.layers:
            return loss
        self.step += 1
        weight = min(1.0, self.step / self.warm_up)
        return loss + weight * sum(layer.kl() for layer in self.layers) / self.n_train


def sparse_trial(seed, *, method, epochs, n_train=None):
    """Train the plain network, or one whose weights have noise of their own."""
    data = load_mnist(n_train=n_train)
    linear = VariationalLinear if method == "variational" else nn.Linear
    layers = [
        part
        for shape in zip(SIZES, SIZES[1:], strict=False)
        for part in (linear(*shape), nn.ReLU())
    ]
    model = nn.Sequential(*layers[:-1])
    n = len(data.x_train)
    steps = epochs * n / 100
    history = fit(
        model,
        data,
        epochs=epochs,
        batch_size=100,
        every=epochs,
        loss=Bound(model, n, warm_up=steps / 2),
        optimizer=adam_to_zero,
    )
    weights = sum(layer.weight.numel() for layer in model if hasattr(layer, "weight"))
    kept = sum(
        int((~layer.pruned).sum()) if method == "variational" else layer.weight.numel()
        for layer in model
        if hasattr(layer, "weight")
    )
    return {
        "test_error": history.test_error[-1],
        "test_loss": history.test_loss[-1],
        "compression": weights / kept,
        "weights_kept": kept,
    }


def adam_to_zero(parameters, steps):
    """Adam, its rate falling to zero in a straight line, as in the authors' code."""
    optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=True)
    return optimizer, torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)


MNIST_SPARSE_VARIATIONAL = Experiment(
    name="mnist-sparse-variational",
    title="LeNet-300-100 on MNIST, with the noise of every weight learned",
    paper="Molchanov et al. (2017)",
    configurations=[{"method": method, "epochs": 30} for method in ("plain", "variational")],
    metrics=("test_error", "test_loss", "compression", "weights_kept"),
    trial=sparse_trial,
    smallest={"method": "variational", "epochs": 15, "n_train": 3000},
)
