"""Monte Carlo dropout on the UCI regression sets, as in Gal's grid search of 2018."""

import itertools

import torch
from torch import nn

from lib.datasets import load_uci, uci_settings
from lib.experiments.experiment import Experiment, grid
from lib.training import minibatches
from lib.uncertainty import gal_weight_decay, predictive_log_likelihood

NAMES = ["concrete", "energy", "wine-quality-red", "yacht"]
LENGTH_SCALE = 0.01


class Grid(nn.Module):
    """Networks with one hidden layer, each with a keep probability of its own, computed together.

    Masks are drawn in every mode, on the inputs and on the hidden units, as Monte Carlo dropout
    wants them. Inputs (..., networks or 1, batch, n_inputs), outputs (..., networks, batch, 1).
    """

    def __init__(self, n_inputs, n_hidden, keep_probs):
        super().__init__()
        self.register_buffer("keep_probs", torch.tensor(keep_probs)[:, None, None])
        layers = [(n_inputs, n_hidden), (n_hidden, 1)]
        # Keras's first weights, as in the authors' code: uniform, with variance 2 / (in + out)
        self.weights = nn.ParameterList(
            torch.empty(len(keep_probs), *shape).uniform_(-1, 1) * (6 / sum(shape)) ** 0.5
            for shape in layers
        )
        self.biases = nn.ParameterList(torch.zeros(len(keep_probs), 1, out) for _, out in layers)

    def mask(self, x):
        return x * (torch.rand_like(x) < self.keep_probs) / self.keep_probs

    def forward(self, x):
        x = x.expand(*x.shape[:-3], len(self.keep_probs), -1, -1)
        hidden = torch.relu(self.mask(x) @ self.weights[0] + self.biases[0])
        return self.mask(hidden) @ self.weights[1] + self.biases[1]


def fit_grid(x, y, keep_probs, taus, n_hidden, batch_size, epochs):
    """Train a network for each pair of keep probability and precision, with Adam."""
    model = Grid(x.shape[1], n_hidden, keep_probs)
    pairs = zip(keep_probs, taus, strict=True)
    decays = [gal_weight_decay(keep_prob, LENGTH_SCALE, len(x), tau) for keep_prob, tau in pairs]
    decays = torch.tensor(decays)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    for _ in range(epochs):
        for x_batch, y_batch in minibatches(x, y, batch_size):
            losses = (model(x_batch[None]) - y_batch).square().mean(dim=(-2, -1))
            squares = sum(weight.square().sum(dim=(-2, -1)) for weight in model.weights)
            optimizer.zero_grad()
            (losses + decays * squares).sum().backward()
            optimizer.step()
    return model


@torch.no_grad()
def samples_of(model, x, n_samples, at_once=100):
    """Draw samples of every network: shape (n_samples, networks, n, 1)."""
    copies = x.expand(at_once, 1, *x.shape)
    return torch.cat([model(copies) for _ in range(0, n_samples, at_once)])


def uci_trial(seed, *, name, batch_size, epochs, n_samples=10_000, n_val_samples=1000):
    """Seed s is the authors' split s. The grid is searched on a fifth of its training data."""
    data, settings = load_uci(name, split=seed), uci_settings(name)
    n = int(0.8 * len(data.x_train))
    keep_probs = [1 - rate for rate in settings.dropout_rates]
    pairs = list(itertools.product(keep_probs, settings.tau_values))

    def train_and_sample(rows, pairs, x_new, n_samples):
        x, y = data.x_train[rows], data.y_train[rows]
        mean, std = x.mean(dim=0), x.std(dim=0, correction=0)
        std[std == 0] = 1
        y_mean, y_std = y.mean(), y.std(correction=0)
        standardized = (x - mean) / std, (y - y_mean) / y_std
        model = fit_grid(
            *standardized, *zip(*pairs, strict=True), settings.n_hidden, batch_size, epochs
        )
        return samples_of(model, (x_new - mean) / std, n_samples) * y_std + y_mean

    samples = train_and_sample(slice(n), pairs, data.x_train[n:], n_val_samples)
    likelihoods = [
        predictive_log_likelihood(samples[:, i], data.y_train[n:], tau).mean()
        for i, (_, tau) in enumerate(pairs)
    ]
    keep_prob, tau = pairs[int(torch.stack(likelihoods).argmax())]
    samples = train_and_sample(slice(None), [(keep_prob, tau)], data.x_test, n_samples)[:, 0]
    likelihood = predictive_log_likelihood(samples, data.y_test, tau).mean()
    rmse = (samples.mean(dim=0) - data.y_test).square().mean().sqrt()
    baseline = (data.y_train.mean() - data.y_test).square().mean().sqrt()
    measured = {"rmse": rmse, "log_likelihood": likelihood, "rmse_of_mean": baseline}
    return measured | {"keep_prob": keep_prob, "tau": tau}


MC_DROPOUT = Experiment(
    name="uci-mc-dropout",
    title="Monte Carlo dropout for regression: error and log-likelihood on 20 splits",
    paper="Gal and Ghahramani (2016), table 1",
    configurations=[
        *grid(name=NAMES, batch_size=32, epochs=400),  # the paper of 2016
        *grid(name=NAMES, batch_size=128, epochs=4000),  # the authors' grid search of 2018
    ],
    metrics=("rmse", "log_likelihood", "rmse_of_mean", "keep_prob", "tau"),
    trial=uci_trial,
    smallest={"epochs": 250, "n_samples": 100, "n_val_samples": 100},
    n_seeds=20,
)
