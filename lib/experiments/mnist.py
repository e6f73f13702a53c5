"""MNIST, each pixel an input like any other: the experiments of the first two dropout papers."""

from math import ceil, inf

import torch

from lib.datasets import load_mnist
from lib.experiments.experiment import Experiment, grid
from lib.experiments.protocol import TRAINED_TO_END, Comparison, train_to_end
from lib.experiments.recipes import (
    AFTER_LAST_EPOCH,
    KEEP_PROBS,
    TrainedInBfloat16,
    at_best_epoch,
    train,
)
from lib.inference import mc_samples
from lib.layers import Dropout, GaussianDropout
from lib.networks import multilayer_perceptron
from lib.training import error_rate, evaluate, fit

NO_MASKS = {"keep_hidden": 1.0, "keep_input": 1.0}
MASKS = {"keep_hidden": 0.5, "keep_input": 0.8}  # of the first two papers
HIDDEN_MASKS = MASKS | {"keep_input": 1.0}
RATES = [0.03, 0.1, 0.3]
MASKED_RATES = [0.01, 0.03, 0.1]  # with masks 0.3 does not learn


def perceptron_trial(
    seed, *, noise, keep_hidden, keep_input, max_norm, n_train, rate, hidden=800, n_val=10_000,
    patience=None, cap=300,
):  # fmt: skip
    data = load_mnist(n_train=n_train, n_val=n_val, seed=seed)
    mask = GaussianDropout if noise == "gaussian" else Dropout
    model = multilayer_perceptron([784, hidden, hidden, 10], keep_hidden, keep_input, mask)
    how = {"rate": rate, "max_norm": None if max_norm == inf else max_norm}
    patience = patience or (5 if n_train >= 50_000 else 10)  # epochs of 391 steps, or fewer
    return train_to_end(TrainedInBfloat16(model), data, patience=patience, cap=cap, **how)[0]


ERROR = Comparison(
    name="mnist-error",
    title="MNIST errors of 784-800-800-10: masks on what, of which noise, with a norm limit or not",
    paper="Hinton et al. (2012), figure 1; Srivastava et al. (2014), tables 9 and 10",
    configurations=[
        configuration
        for noise, masks, max_norm in (
            ("bernoulli", NO_MASKS, inf),
            ("bernoulli", HIDDEN_MASKS, inf),
            ("bernoulli", MASKS, inf),
            ("bernoulli", NO_MASKS, 2.0),
            ("bernoulli", MASKS, 2.0),
            ("gaussian", MASKS, 2.0),
        )
        for configuration in grid(
            noise=noise,
            **masks,
            max_norm=max_norm,
            n_train=50_000,
            rate=RATES if masks is NO_MASKS else MASKED_RATES,
        )
    ],
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


def size_trial(seed, *, n_train, keep_hidden, keep_input, rate, hidden=512, **settings):
    return perceptron_trial(
        seed, noise="bernoulli", keep_hidden=keep_hidden, keep_input=keep_input, max_norm=inf,
        n_train=n_train, rate=rate, hidden=hidden, **settings,
    )  # fmt: skip


SIZE = Comparison(
    name="mnist-size",
    title="MNIST error against the number of training images, with and without dropout",
    paper="Srivastava et al. (2014), section 7.4, figure 10",
    configurations=[
        configuration
        for n_train in (100, 500, 1_000, 5_000, 10_000, 50_000)
        for masks, rates in ((NO_MASKS, RATES), (MASKS, MASKED_RATES))
        for configuration in grid(n_train=n_train, **masks, rate=rates)
    ],
    metrics=TRAINED_TO_END,
    trial=size_trial,
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


N_EPOCHS = 40
RECIPE = {"width": 2, "momentum": 0.95, "max_norm": 3.0}
SCHOOLS = {"no masks": {}, "masks": MASKS, "recipe": MASKS | RECIPE, "recipe, no masks": RECIPE}


def learning_rate_trial(seed, *, school, rate, hidden=256, n_train=5_000, epochs=N_EPOCHS):
    """Train at a constant rate; validation loss by epoch.

    The recipe is that of Srivastava et al., appendix A: n / p units, more momentum, a norm limit.
    """
    settings = {"width": 1, "momentum": 0.9, "max_norm": None} | SCHOOLS[school]
    data, units = (
        load_mnist(n_train=n_train, n_val=5_000, seed=seed),
        settings.pop("width") * hidden,
    )
    masks = {name: settings.pop(name) for name in MASKS if name in settings}
    model = multilayer_perceptron([784, units, units, 10], **masks)
    how = {"lr": rate, "momentum": settings["momentum"]}

    def constant(parameters, steps):
        optimizer = torch.optim.SGD(parameters, **how)
        return optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)

    history = fit(
        model,
        data,
        epochs=epochs,
        batch_size=128,
        max_norm=settings["max_norm"],
        optimizer=constant,
    )
    losses = [*history.val_loss.tolist(), *[float("nan")] * (N_EPOCHS - epochs)]
    return at_best_epoch(history) | {f"val_loss_{k}": loss for k, loss in enumerate(losses, 1)}


LEARNING_RATE = Comparison(
    name="learning-rate",
    title="MNIST: epochs to the same validation loss, by rate, without masks, with, by the recipe",
    paper="Srivastava et al. (2014), appendix A",
    configurations=[
        *grid(school=["no masks", "masks", "recipe"], rate=[0.005, 0.01, 0.02, 0.05, 0.1, 0.2]),
        *grid(school="recipe, no masks", rate=[0.01, 0.02, 0.05]),
    ],
    chosen_by="val_loss",
    search_seeds=5,
    one_test_set=False,
    metrics=(
        *("test_error", "test_loss", "val_loss", "best_epoch"),
        *(f"val_loss_{k}" for k in range(1, N_EPOCHS + 1)),
    ),
    trial=learning_rate_trial,
    smallest={"rate": 0.05, "hidden": 100, "n_train": 2000, "epochs": 5},
)
