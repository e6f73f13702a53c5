"""MNIST, each pixel an input like any other: the experiments of the first two dropout papers."""

from math import ceil

import torch

from lib.datasets import load_mnist
from lib.experiments.experiment import Experiment, grid
from lib.experiments.recipes import AFTER_LAST_EPOCH, KEEP_PROBS, TrainedInBfloat16, train
from lib.inference import mc_samples
from lib.layers import Dropout, GaussianDropout
from lib.networks import multilayer_perceptron
from lib.training import evaluate


def error_trial(seed, *, hidden, layers, masks, max_norm, epochs, n_train=None):
    data = load_mnist(n_train=n_train)
    model = multilayer_perceptron([784, *[hidden] * layers, 10], **KEEP_PROBS[masks])
    return train(TrainedInBfloat16(model), data, epochs, max_norm=max_norm)


MASKS = ["none", "hidden+input"]

ERROR = Experiment(
    name="mnist-error",
    title="MNIST errors: no masks, hidden units masked, input masked too",
    paper="Hinton et al. (2012), figure 1",
    configurations=grid(
        hidden=[800, 1200], layers=2, masks=list(KEEP_PROBS), max_norm=1.2, epochs=90
    ),
    metrics=AFTER_LAST_EPOCH,
    trial=error_trial,
    smallest={"hidden": 100, "max_norm": 3.5, "epochs": 4, "n_train": 3000},
    n_seeds=3,
)

DEPTH = Experiment(
    name="mnist-depth",
    title="MNIST, three hidden layers of 1,024 units with max-norm",
    paper="Srivastava et al. (2014), table 2",
    configurations=[
        *grid(hidden=1024, layers=3, masks=MASKS, max_norm=1.2, epochs=25),
        *grid(hidden=1024, layers=3, masks=MASKS, max_norm=1.2, epochs=90),
    ],
    metrics=AFTER_LAST_EPOCH,
    trial=error_trial,
    smallest={"hidden": 100, "max_norm": 3.5, "epochs": 6, "n_train": 3000},
    n_seeds=3,
)


def rate_trial(seed, *, held, keep_prob, hidden, n_train, epochs):
    data = load_mnist(n_train=n_train, seed=seed)
    model = multilayer_perceptron([784, hidden, hidden, 10], keep_hidden=keep_prob)
    return train(model, data, epochs)


KEPT = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)

RATE = Experiment(
    name="mnist-rate",
    title="MNIST error against the keep probability of hidden units",
    paper="Srivastava et al. (2014), section 7.3, figure 9",
    configurations=[
        {"held": held, "keep_prob": keep_prob, "hidden": hidden, "n_train": 10_000, "epochs": 20}
        for held, keep_prob, hidden in (
            *(("units", keep_prob, 512) for keep_prob in (0.1, *KEPT)),
            *(("kept units", keep_prob, ceil(256 / keep_prob)) for keep_prob in KEPT),
        )
    ],
    metrics=AFTER_LAST_EPOCH,
    trial=rate_trial,
    smallest={"keep_prob": 0.5, "hidden": 100, "n_train": 2000, "epochs": 5},
)


def size_trial(seed, *, n_train, masks, epochs, hidden=512):
    data = load_mnist(n_train=n_train, seed=seed)
    model = multilayer_perceptron([784, hidden, hidden, 10], **KEEP_PROBS[masks])
    return train(model, data, epochs)


EPOCHS = {100: 300, 500: 150, 1_000: 120, 5_000: 50, 10_000: 35, 50_000: 40}  # by n_train

SIZE = Experiment(
    name="mnist-size",
    title="MNIST error against the number of training images, with and without dropout",
    paper="Srivastava et al. (2014), section 7.4, figure 10",
    configurations=[
        {"n_train": n_train, "masks": masks, "epochs": epochs}
        for n_train, epochs in EPOCHS.items()
        for masks in MASKS
    ],
    metrics=AFTER_LAST_EPOCH,
    trial=size_trial,
    smallest={"n_train": 1000, "epochs": 10, "hidden": 100},
)

N_SAMPLES = (1, 2, 5, 10, 20, 50, 100)


def averaging_trial(seed, *, hidden, n_train, epochs, n_test=None, repeats=10):
    """Error of the average over k samples: the mean over `repeats` draws of k out of all."""
    data = load_mnist(n_train=n_train, seed=seed)
    data = data._replace(x_test=data.x_test[:n_test], y_test=data.y_test[:n_test])
    model = multilayer_perceptron([784, hidden, hidden, 10], **KEEP_PROBS["hidden+input"])
    train(model, data, epochs, max_norm=3.5)
    metrics = {"error_scaled": evaluate(model, data.x_test, data.y_test).error}
    most = max(N_SAMPLES)
    samples = [mc_samples(model, x, most).softmax(dim=-1) for x in data.x_test.split(1000)]
    samples = torch.cat(samples, dim=1)  # (samples, images, classes)
    for k in N_SAMPLES:
        errors = []
        for _ in range(repeats if k < most else 1):
            drawn = samples[torch.randperm(most)[:k]].mean(dim=0)
            errors.append((drawn.argmax(dim=-1) != data.y_test).float().mean())
        metrics[f"error_{k}"] = torch.stack(errors).mean()
    return metrics


AVERAGING = Experiment(
    name="mnist-averaging",
    title="MNIST error of Monte Carlo averages of k samples, beside weight scaling",
    paper="Srivastava et al. (2014), section 7.5, figure 11",
    configurations=grid(hidden=800, n_train=10_000, epochs=25),
    metrics=("error_scaled", *(f"error_{k}" for k in N_SAMPLES)),
    trial=averaging_trial,
    smallest={"hidden": 100, "n_train": 3000, "epochs": 4, "n_test": 1000, "repeats": 2},
)


def noise_trial(seed, *, noise, n_train, epochs, hidden=512):
    data = load_mnist(n_train=n_train, seed=seed)
    keep_probs = KEEP_PROBS["none" if noise == "none" else "hidden+input"]
    mask = GaussianDropout if noise == "gaussian" else Dropout
    model = multilayer_perceptron([784, hidden, hidden, 10], **keep_probs, mask=mask)
    return train(model, data, epochs, max_norm=3.5)


GAUSSIAN = Experiment(
    name="mnist-gaussian",
    title="MNIST error with Gaussian and with Bernoulli noise of equal variance",
    paper="Srivastava et al. (2014), section 10, table 10",
    configurations=grid(noise=["none", "bernoulli", "gaussian"], n_train=10_000, epochs=25),
    metrics=AFTER_LAST_EPOCH,
    trial=noise_trial,
    smallest={"n_train": 3000, "epochs": 4, "hidden": 100},
    n_seeds=10,
)
