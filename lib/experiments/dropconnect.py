"""DropConnect on MNIST, with both of its ways to predict."""

import torch
from torch import nn

from lib.datasets import load_mnist
from lib.experiments.experiment import grid
from lib.experiments.protocol import TRAINED_TO_END, Comparison, train_to_end
from lib.layers import DropConnectLinear, Dropout
from lib.training import classification_loss, error_rate


class Net(nn.Module):
    """Features, one layer whose units or weights are masked, and a classifier, as in Wan et al."""

    def __init__(self, masks, hidden, keep_prob=0.5):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(784, hidden), nn.ReLU())
        if masks == "weights":
            self.layer = DropConnectLinear(hidden, hidden, keep_prob)
        else:
            self.layer = nn.Linear(hidden, hidden)
        self.drop = Dropout(keep_prob) if masks == "units" else nn.Identity()
        self.classifier = nn.Linear(hidden, 10)

    def forward(self, x):
        return self.classifier(self.drop(torch.relu(self.layer(self.features(x)))))

    def gaussian_inference(self, x, n_samples):
        """Predict from the mean activation under Gaussian pre-activations."""
        features = self.features(x)
        return self.classifier(self.layer.gaussian_inference(features, torch.relu, n_samples))


def dropconnect_trial(
    seed, *, masks, hidden, n_train, keep_prob, rate, n_val=10_000, n_samples=1000, patience=10,
    cap=300,
):  # fmt: skip
    """Mask the units of the second hidden layer, or the weights into it, or nothing."""
    data = load_mnist(n_train=n_train, n_val=n_val, seed=seed)
    how = {"rate": rate, "patience": patience, "cap": cap}
    metrics, model = train_to_end(Net(masks, hidden, keep_prob), data, **how)
    error, loss = metrics["test_error"], metrics["test_loss"]
    if masks == "weights":  # without DropConnect there is one way only
        with torch.no_grad():
            parts = data.x_test.split(2000)
            output = torch.cat([model.eval().gaussian_inference(x, n_samples) for x in parts])
        error = error_rate(output, data.y_test)
        loss = classification_loss(output, data.y_test)
    return metrics | {"gaussian_error": error, "gaussian_loss": loss}


HOW = {"hidden": 200, "n_train": 10_000}

DROPCONNECT = Comparison(
    name="mnist-dropconnect",
    title="MNIST: no masks, dropout, and DropConnect with Gaussian and with mean inference",
    paper="Wan et al. (2013)",
    configurations=[
        *grid(masks="none", **HOW, keep_prob=1.0, rate=[0.03, 0.1, 0.3]),
        *grid(masks=["units", "weights"], **HOW, keep_prob=[0.5, 0.8], rate=[0.01, 0.03, 0.1]),
    ],
    choices=("keep_prob", "rate"),
    metrics=(*TRAINED_TO_END, "gaussian_error", "gaussian_loss"),
    trial=dropconnect_trial,
    smallest={
        **{"hidden": 64, "n_train": 2000, "n_val": 1000, "n_samples": 10},
        **{"patience": 3, "cap": 10},
    },
)
