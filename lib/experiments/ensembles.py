"""Ensembles of networks with and without dropout, beside the samples of a single network."""

import torch

from lib.datasets import load_digits, load_fashion_mnist
from lib.experiments.experiment import grid
from lib.experiments.protocol import OF_THE_END, Comparison, train_to_end
from lib.inference import sampling
from lib.networks import multilayer_perceptron
from lib.training import classification_loss, error_rate, seed_everything

MEMBERS = 5
PASSES = (5, 100)  # samples of the first member


def ensemble_trial(seed, *, data, keep_prob, rate, hidden=256, n_train=2_000, patience=10, cap=300):
    """Train members, each from a seed of its own, on the same data; predict in all ways."""
    if data == "digits":
        split, sizes = load_digits(500, 600, 597, seed, test_seed=0), [64, 128, 128, 10]
    else:
        split = load_fashion_mnist(n_train=n_train, n_val=5_000, seed=seed)
        sizes = [784, hidden, hidden, 10]
    members, measured = [], []
    for member in range(MEMBERS):
        seed_everything(MEMBERS * seed + member)
        how = {"rate": rate, "patience": patience, "cap": cap}
        metrics, model = train_to_end(multilayer_perceptron(sizes, keep_prob), split, **how)
        members.append(model.eval())
        measured.append(metrics)
    with torch.no_grad():
        answers = {"scaled": members[0](split.x_test).softmax(dim=-1)}
        each = [model(split.x_test).softmax(dim=-1) for model in members]
        val = torch.stack([model(split.x_val).softmax(dim=-1) for model in members]).mean(dim=0)
        passes = [answers["scaled"]]  # of a network without masks all are the same
        if keep_prob < 1:
            with sampling(members[0]):
                passes = [members[0](split.x_test).softmax(dim=-1) for _ in range(max(PASSES))]
    answers["ensemble"] = torch.stack(each).mean(dim=0)
    answers |= {f"mc_{n}": torch.stack(passes[:n]).mean(dim=0) for n in PASSES}
    results = {name: measured[0][name] for name in OF_THE_END}
    results["ensemble_val_error"] = error_rate(val, split.y_val)
    results["finished"] = all(metrics["finished"] for metrics in measured)
    for name, answer in answers.items():
        results[f"{name}_error"] = error_rate(answer, split.y_test)
        results[f"{name}_loss"] = classification_loss(answer.log(), split.y_test)
    return results


WAYS = ("scaled", "ensemble", *(f"mc_{n}" for n in PASSES))

ENSEMBLES = Comparison(
    name="dropout-ensembles",
    title="Five members with and without dropout, and five passes of one network",
    paper="Gal and Ghahramani (2016); Lakshminarayanan et al. (2017)",
    configurations=grid(data=["digits", "fashion"], keep_prob=[1.0, 0.5], rate=[0.03, 0.1, 0.3]),
    chosen_by="ensemble_val_error",
    one_test_set=False,
    metrics=(
        *(*OF_THE_END, "ensemble_val_error", "finished"),
        *(f"{way}_{what}" for way in WAYS for what in ("error", "loss")),
    ),
    trial=ensemble_trial,
    smallest={"hidden": 64, "n_train": 1000, "patience": 3, "cap": 10},
)
