"""What dropout does to the hidden units of an autoencoder on MNIST."""

import numpy as np
import torch
from torch import nn

from lib.datasets import autoencoding, load_mnist
from lib.experiments.experiment import Experiment, grid
from lib.experiments.recipes import train
from lib.layers import Dropout
from lib.layers.base import modes_restored
from lib.representation import hoyer_sparsity, neighbour_correlation
from lib.training import squared_loss

N_HIDDEN = 256


def autoencoder_trial(seed, *, keep_prob, epochs, n_train=None):
    """Train with squared error; look at the hidden units on the test images, masks off."""
    data = autoencoding(load_mnist(n_train=n_train))
    encoder = nn.Sequential(nn.Linear(784, N_HIDDEN), nn.ReLU())
    model = nn.Sequential(encoder, Dropout(keep_prob), nn.Linear(N_HIDDEN, 784))
    measured = train(model, data, epochs, measure=["test_loss"], optimizer=None, loss=squared_loss)
    with torch.no_grad(), modes_restored(model):
        hidden = model.eval()[0](data.x_test)
    alive = (hidden > 0).any(dim=0)
    inked = (data.x_train > 0).any(dim=0)  # the other pixels' weights never get a gradient
    filters = encoder[0].weight.detach()
    pictures = filters[alive].unflatten(-1, (28, 28))[:, 4:24, 4:24].numpy()  # the digits' box
    metrics = {
        "mean_activation": hidden.mean(),
        "share_active": (hidden > 0).float().mean(),
        "share_dead": 1 - alive.float().mean(),
        "active_above_half": (hidden > 0.5).float().mean(),
        "filter_sparsity": hoyer_sparsity(filters[alive][:, inked].numpy()).mean(),
        "neighbour_correlation": neighbour_correlation(pictures).mean(),
        "squared_error": 784 * measured["test_loss"],  # summed over the pixels of an image
    }
    if seed == 0:
        metrics["picture"] = tile(filters[:100].numpy())
    return metrics


def tile(filters, gap=2):
    """Lay filters (n, 784) out as pictures in rows of ten, each on its own scale: grey is zero."""
    largest = np.abs(filters).max(axis=1, keepdims=True)
    grey = 127.5 * (1 + filters / np.where(largest == 0, 1, largest))
    images = grey.reshape(-1, 10, 28, 28)
    framed = np.pad(images, ((0, 0), (0, 0), (0, gap), (0, gap)), constant_values=255)
    sheet = framed.transpose(0, 2, 1, 3).reshape(len(images) * (28 + gap), 10 * (28 + gap))
    return sheet[:-gap, :-gap].round().astype(np.uint8)


AUTOENCODER = Experiment(
    name="mnist-autoencoder",
    title="Hidden activations and filters of an MNIST autoencoder of 256 ReLU units",
    paper="Srivastava et al. (2014), sections 7.1 and 7.2, figures 7 and 8",
    configurations=grid(keep_prob=[1.0, 0.5], epochs=10),
    metrics=(
        *("mean_activation", "share_active", "share_dead", "active_above_half"),
        *("filter_sparsity", "neighbour_correlation", "squared_error"),
    ),
    trial=autoencoder_trial,
    smallest={"epochs": 8, "n_train": 3000},
)
