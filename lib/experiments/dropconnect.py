"""DropConnect on MNIST, with both of its ways to predict."""

import torch
from torch import nn

from lib.datasets import load_mnist
from lib.experiments.experiment import Experiment, grid
from lib.experiments.recipes import train
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


def dropconnect_trial(seed, *, masks, hidden, n_train, epochs, n_samples=1000):
    """Mask the units of the second hidden layer, or the weights into it, or nothing."""
    data = load_mnist(n_train=n_train, seed=seed)
    model = Net(masks, hidden)
    metrics = train(model, data, epochs, measure=("test_error", "test_loss"))
    error, loss = metrics.values()
    if masks == "weights":  # without DropConnect there is one way only
        with torch.no_grad():
            parts = data.x_test.split(2000)
            output = torch.cat([model.eval().gaussian_inference(x, n_samples) for x in parts])
        error = error_rate(output, data.y_test)
        loss = classification_loss(output, data.y_test)
    return metrics | {"gaussian_error": error, "gaussian_loss": loss}


DROPCONNECT = Experiment(
    name="mnist-dropconnect",
    title="MNIST: no masks, dropout, and DropConnect with Gaussian and with mean inference",
    paper="Wan et al. (2013)",
    configurations=grid(masks=["none", "units", "weights"], hidden=200, n_train=5_000, epochs=40),
    metrics=("test_error", "test_loss", "gaussian_error", "gaussian_loss"),
    trial=dropconnect_trial,
    smallest={"hidden": 64, "n_train": 2000, "epochs": 5, "n_samples": 10},
)
