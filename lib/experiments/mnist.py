"""MNIST, each pixel an input like any other: the experiments of the first two dropout papers."""

from math import ceil, inf

import torch

from lib.datasets import load_mnist
from lib.experiments.experiment import Experiment, grid
from lib.experiments.protocol import TRAINED_TO_END, Comparison, train_to_end
from lib.experiments.recipes import AFTER_LAST_EPOCH, KEEP_PROBS, TrainedInBfloat16, train
from lib.inference import mc_samples
from lib.layers import Dropout, GaussianDropout
from lib.networks import multilayer_perceptron
from lib.training import error_rate, evaluate

NO_MASKS = {"keep_hidden": 1.0, "keep_input": 1.0}
MASKS = {"keep_hidden": 0.5, "keep_input": 0.8}  # of the first two papers
HIDDEN_MASKS = MASKS | {"keep_input": 1.0}
RATES = [0.03, 0.1, 0.3]


def perceptron_trial(
    seed, *, hidden, layers, keep_hidden, keep_input, n_train, rate, max_norm, mask=Dropout,
    n_val=10_000, patience=10, cap=300,
):  # fmt: skip
    data = load_mnist(n_train=n_train, n_val=n_val, seed=seed)
    model = multilayer_perceptron([784, *[hidden] * layers, 10], keep_hidden, keep_input, mask)
    how = {"rate": rate, "max_norm": None if max_norm == inf else max_norm}
    metrics, _ = train_to_end(TrainedInBfloat16(model), data, patience=patience, cap=cap, **how)
    return metrics


ERROR = Comparison(
    name="mnist-error",
    title="MNIST errors of 784-800-800-10: no masks, hidden units masked, input masked too",
    paper="Hinton et al. (2012), figure 1",
    configurations=[
        configuration
        for masks in (NO_MASKS, HIDDEN_MASKS, MASKS)
        for configuration in grid(
            hidden=800, layers=2, **masks, n_train=50_000, rate=RATES, max_norm=[inf, 2.0]
        )
    ],
    choices=("rate", "max_norm"),
    metrics=TRAINED_TO_END,
    trial=perceptron_trial,
    smallest={"hidden": 100, "n_train": 3000, "n_val": 1000, "patience": 3, "cap": 20},
)

DEPTH = Comparison(
    name="mnist-depth",
    title="MNIST, three hidden layers of 1,024 units with max-norm, without and with dropout",
    paper="Srivastava et al. (2014), tables 2 and 9",
    configurations=[
        configuration
        for masks in (NO_MASKS, MASKS)
        for configuration in grid(
            hidden=1024, layers=3, **masks, n_train=50_000, rate=RATES, max_norm=[1.2, 2.0, 3.5]
        )
    ],
    choices=("rate", "max_norm"),
    metrics=TRAINED_TO_END,
    trial=perceptron_trial,
    smallest={"hidden": 100, "n_train": 3000, "n_val": 1000, "patience": 3, "cap": 20},
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


SIZE = Comparison(
    name="mnist-size",
    title="MNIST error against the number of training images, with and without dropout",
    paper="Srivastava et al. (2014), section 7.4, figure 10",
    configurations=[
        configuration
        for n_train in (100, 500, 1_000, 5_000, 10_000, 50_000)
        for masks in (NO_MASKS, MASKS)
        for configuration in grid(
            hidden=512, layers=2, **masks, n_train=n_train, rate=RATES, max_norm=inf
        )
    ],
    metrics=TRAINED_TO_END,
    trial=perceptron_trial,
    smallest={"hidden": 100, "n_train": 1000, "n_val": 1000, "patience": 3, "cap": 20},
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
            errors.append(error_rate(drawn, data.y_test))
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


def noise_trial(seed, *, noise, hidden, layers, n_train, rate, max_norm, **settings):
    mask = GaussianDropout if noise == "gaussian" else Dropout
    return perceptron_trial(
        seed, hidden=hidden, layers=layers, **MASKS, n_train=n_train, rate=rate, max_norm=max_norm,
        mask=mask, **settings,
    )  # fmt: skip


GAUSSIAN = Comparison(
    name="mnist-gaussian",
    title="MNIST error with Gaussian and with Bernoulli noise of equal variance",
    paper="Srivastava et al. (2014), section 10, table 10",
    configurations=grid(
        noise=["bernoulli", "gaussian"], hidden=1024, layers=2, n_train=50_000, rate=RATES,
        max_norm=[inf, 2.0],
    ),
    choices=("rate", "max_norm"),
    metrics=TRAINED_TO_END,
    trial=noise_trial,
    smallest={"hidden": 100, "n_train": 3000, "n_val": 1000, "patience": 3, "cap": 20},
)  # fmt: skip
