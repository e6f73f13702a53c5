"""Sparse variational dropout beside magnitude pruning: how many weights LeNet-300-100 needs."""

import itertools

import torch
from torch import nn
from torch.nn.utils import prune

from lib.datasets import load_mnist
from lib.experiments.experiment import Experiment, grid
from lib.layers import VariationalLinear
from lib.training import evaluate, minibatches

SIZES = (784, 300, 100, 10)
RATES = (3e-4, 1e-3, 3e-3)
DECAYS = (1e-5, 1e-4)


def net_of(linear):
    layers = [linear(*shape) for shape in zip(SIZES, SIZES[1:], strict=False)]
    return nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))[:-1]


def layers_of(net):
    return [layer for layer in net if isinstance(layer, nn.Linear)]


def fit_to_zero(net, data, epochs, rate, decay=0.0, penalty=None, after_epoch=None):
    """Adam, its rate falling to zero in a straight line, as in the authors' code."""
    optimizer = torch.optim.Adam(net.parameters(), lr=rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=epochs)
    for epoch in range(epochs):
        net.train()
        for x, y in minibatches(data.x_train, data.y_train, 100):
            loss = nn.functional.cross_entropy(net(x), y)
            if penalty is not None:
                loss = loss + penalty(epoch / epochs)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        if after_epoch is not None:
            after_epoch((epoch + 1) / epochs)
    return net


def variational(data, epochs, rate):
    """The KL a training example, its weight rising from 0 to 1 in the first half."""
    net = net_of(VariationalLinear)

    def penalty(done):
        return min(1.0, 2 * done) * sum(layer.kl() for layer in layers_of(net)) / len(data.x_train)

    return fit_to_zero(net, data, epochs, rate, penalty=penalty)


def pruned(data, epochs, rate, decay, n_kept):
    """Prune the smallest weights of all layers, more of them after each epoch.

    The share that is gone rises as 1 - (1 - done)^3 over the first two thirds, as in Zhu and Gupta
    (2017); the last third is for what is left.
    """
    net = net_of(nn.Linear)
    weights = [(layer, "weight") for layer in layers_of(net)]
    n_all = sum(layer.weight.numel() for layer, _ in weights)

    def after_epoch(done):
        share = 1 - (1 - min(1.0, 1.5 * done)) ** 3
        gone = sum(int((layer.weight == 0).sum()) for layer, _ in weights)
        more = round(share * (n_all - n_kept)) - gone
        if more > 0:
            prune.global_unstructured(weights, prune.L1Unstructured, amount=more)

    return fit_to_zero(net, data, epochs, rate, decay, after_epoch=after_epoch)


def sparse_trial(seed, *, epochs, n_train=50_000, n_val=10_000, rates=RATES, decays=DECAYS):
    """Each method at its best by validation error; the rival keeps as many weights.

    First the rate is chosen, without decay, then the decay, which the variational network, with its
    prior, does not have.
    """
    data = load_mnist(n_train=n_train, n_val=n_val, seed=seed)

    def best(train, **choices):
        nets = {choice: train(*choice) for choice in itertools.product(*choices.values())}
        errors = {
            choice: evaluate(net, data.x_val, data.y_val).error for choice, net in nets.items()
        }
        choice = min(errors, key=errors.get)
        return nets[choice], errors[choice], choice

    def best_with_decay(train):
        net, error, (rate, _) = best(train, rates=rates, decays=(0.0,))
        if len(decays) == 0:
            return net
        other, other_error, _ = best(train, rates=(rate,), decays=decays)
        return other if other_error < error else net

    sparse, *_ = best(lambda rate: variational(data, epochs, rate), rates=rates)
    n_kept = sum(int((~layer.pruned).sum()) for layer in layers_of(sparse))
    nets = {
        "variational": sparse,
        "magnitude": best_with_decay(lambda *each: pruned(data, epochs, *each, n_kept)),
        "dense": best_with_decay(lambda *each: fit_to_zero(net_of(nn.Linear), data, epochs, *each)),
    }
    n_all = sum(layer.weight.numel() for layer in layers_of(sparse))
    measured = {"weights_kept": n_kept, "compression": n_all / max(1, n_kept)}
    for name, net in nets.items():
        loss, error = evaluate(net, data.x_test, data.y_test)
        measured |= {f"{name}_error": error, f"{name}_loss": loss}
    return measured


SPARSE_VARIATIONAL = Experiment(
    name="mnist-sparse-variational",
    title="LeNet-300-100 on MNIST: learned noise, magnitude pruning to as many weights, and dense",
    paper="Molchanov et al. (2017); Gale et al. (2019)",
    configurations=grid(epochs=40),
    metrics=(
        *("weights_kept", "compression"),
        *(
            f"{name}_{what}"
            for name in ("variational", "magnitude", "dense")
            for what in ("error", "loss")
        ),
    ),
    trial=sparse_trial,
    smallest={"epochs": 15, "n_train": 3000, "n_val": 1000, "rates": (1e-3,), "decays": ()},
    n_seeds=3,
)
