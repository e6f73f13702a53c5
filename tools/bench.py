"""How fast layers, Monte Carlo samples and the enumeration of masks are: `make bench`.

Machines are noisy, so the variants take turns within one run, a turn each per round, and it is the
ratio within a round that counts: its median and quartiles are printed. Another benchmark is another
function that prints a table, added to `BENCHMARKS`; those without torch run once, at the end.
"""

import itertools
import os
import platform
import time
from functools import partial

import bench_layers
import numpy as np
import torch
from scipy.special import expit
from torch import nn

from lib.inference import mc_samples
from lib.layers import Dropout, FastDropoutLinear, GaussianDropout, StochasticDepth, linear_survival
from lib.masks import all_masks, mask_probabilities
from lib.theory.ensemble import ensemble_mean, subnetwork_outputs
from lib.theory.nwgm import nwgm, rigorous_bound


def main():
    cores = os.cpu_count()
    print(f"torch {torch.__version__}, Python {platform.python_version()}, {cores} cores")
    for threads in sorted({1, cores}):
        torch.set_num_threads(threads)
        for benchmark in BENCHMARKS:
            print()
            benchmark()
    torch.set_num_threads(1)
    print()
    enumeration()


def dropout_layer(seconds=4):
    """Ours against torch's, forward and backward."""
    x = torch.randn(128, 1024, requires_grad=True)
    gradient = torch.randn_like(x)

    def run(layer):
        x.grad = None
        layer(x).backward(gradient)

    times = take_turns(
        {
            "torch.nn.Dropout(0.5)": partial(run, nn.Dropout(0.5)),
            "ours, keep_prob 0.5": partial(run, Dropout(0.5)),
            "ours, keep_prob 0.7": partial(run, Dropout(0.7)),
            'ours, scaling="weight"': partial(run, Dropout(0.5, "weight")),
            "ours, Gaussian": partial(run, GaussianDropout(0.5)),
        },
        seconds,
    )
    print_table("Dropout layer, forward + backward, 128 x 1024", times)
    print_verdict(times, "ours, keep_prob 0.5", "torch.nn.Dropout(0.5)", at_most=0.35)


def every_layer(seconds=1):
    """Each layer beside torch's: how often as long it takes, in training and in eval."""
    print("Every layer beside torch's: training forward + backward, and eval forward")
    print(f"threads: {torch.get_num_threads()}; medians and quartiles of the ratio in a round")
    print(f"  {'':26} {'beside':20} {'training':22} {'eval':22}")
    for name, row in bench_layers.rows().items():
        said, late = [], []
        for mode, run, at_most in (
            ("training", bench_layers.training_run, row.training_at_most),
            ("eval", bench_layers.eval_run, row.eval_at_most),
        ):
            layers = {"torch": row.torchs, "ours": row.ours}
            times = take_turns({key: run(each, row.x) for key, each in layers.items()}, seconds)
            low, ratio, high = np.quantile(times["ours"] / times["torch"], (0.25, 0.5, 0.75))
            said.append(f"{ratio:6.2f} ({low:.2f} - {high:.2f})")
            if ratio > at_most:
                late.append(f"MISSED: {mode} at most {at_most}")
        print(f"  {name:26} {row.name:20} {said[0]:22} {said[1]:22} {', '.join(late)}".rstrip())


def training_step(seconds=12):
    """A training step of 784-800-800-10 with dropout on both hidden layers, and without."""
    x, y = torch.rand(128, 784), torch.randint(10, (128,))
    loss = nn.CrossEntropyLoss()

    def step_of(make_dropout):
        hidden = ((nn.Linear(n, 800), nn.ReLU(), make_dropout()) for n in (784, 800))
        net = nn.Sequential(*itertools.chain(*hidden), nn.Linear(800, 10))
        # a step size of 0 keeps the numbers, and so the cost of computing with them, the same
        optimizer = torch.optim.Adam(net.parameters(), lr=0)

        def step():
            optimizer.zero_grad()
            loss(net(x), y).backward()
            optimizer.step()

        return step

    times = take_turns(
        {
            "without dropout": step_of(nn.Identity),
            "ours": step_of(lambda: Dropout(0.5)),
            "torch.nn.Dropout": step_of(lambda: nn.Dropout(0.5)),
        },
        seconds,
    )
    print_table("Training step of 784-800-800-10, 128 examples, Adam, dropout 0.5 twice", times)
    print_verdict(times, "ours", "without dropout", at_most=1.15)


def monte_carlo_samples(seconds=6, n_samples=100):
    """Samples of 784-800-800-10 by `mc_samples`, against as many passes with torch's dropout.

    A round takes seconds itself: there are a few only, and each counts.
    """
    x = torch.rand(1000, 784)

    def net_of(layer, places):
        dropout = [layer() if place in places else nn.Identity() for place in range(3)]
        layers = (
            *(dropout[0], nn.Linear(784, 800), nn.ReLU()),
            *(dropout[1], nn.Linear(800, 800), nn.ReLU()),
            *(dropout[2], nn.Linear(800, 10)),
        )
        return nn.Sequential(*layers)

    @torch.no_grad()
    def full_passes(net):
        torch.stack([net(x) for _ in range(n_samples)])

    for title, places, at_most in [
        ("on the last hidden layer", [2], 0.2),
        ("before every layer", [0, 1, 2], 0.75),
    ]:
        times = take_turns(
            {
                "full passes, torch": partial(full_passes, net_of(nn.Dropout, places).train()),
                "mc_samples": partial(mc_samples, net_of(Dropout, places), x, n_samples),
            },
            seconds,
            warm_up=0,
        )
        print_table(f"{n_samples} samples of 784-800-800-10, 1,000 inputs, dropout {title}", times)
        print_verdict(times, "mc_samples", "full passes, torch", at_most)


def fast_dropout(seconds=6):
    """One pass of fast dropout, forward and backward, against a linear layer with ReLU."""
    x = torch.rand(128, 800, requires_grad=True)  # activations of a layer before
    x_variance = torch.rand(128, 800, requires_grad=True)
    gradient = torch.randn(128, 800)
    plain = nn.Sequential(nn.Linear(800, 800), nn.ReLU())
    sampled, fast = nn.Sequential(Dropout(0.5), *plain), FastDropoutLinear(800, 800, 0.5)

    def run(layer, *inputs):
        for tensor in (*inputs, *layer.parameters()):
            tensor.grad = None
        outputs = layer(inputs if len(inputs) == 2 else inputs[0])
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        torch.autograd.backward(outputs, [gradient] * len(outputs))

    times = take_turns(
        {
            "linear + ReLU": partial(run, plain, x),
            "sampled dropout": partial(run, sampled, x),
            "fast, first layer": partial(run, fast, x),
            "fast, next layer": partial(run, fast, x, x_variance),
        },
        seconds,
    )
    print_table("Fast dropout 800 - 800, 128 examples, forward + backward", times)
    print_verdict(times, "fast, next layer", "linear + ReLU", at_most=3)


def stochastic_depth(seconds=12, n_blocks=16, n_steps=8):
    """Training steps of a residual net whose branches are dropped; a run averages over gates."""
    x, y = torch.rand(64, 16, 8, 8), torch.randint(10, (64,))
    loss = nn.CrossEntropyLoss()

    def branch():
        convolutions = (nn.Conv2d(16, 16, 3, padding=1) for _ in range(2))
        return nn.Sequential(*itertools.chain(*((nn.ReLU(), each) for each in convolutions)))

    def steps_of(survival_probs, gate="batch"):
        blocks = [StochasticDepth(branch(), p, gate) for p in survival_probs]
        net = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
        optimizer = torch.optim.Adam(net.parameters(), lr=0)

        def steps():
            for _ in range(n_steps):
                optimizer.zero_grad()
                loss(net(x), y).backward()
                optimizer.step()

        return steps

    half, linear = [0.5] * n_blocks, linear_survival(n_blocks)
    times = take_turns(
        {
            "all branches": steps_of([1] * n_blocks),
            "half survive": steps_of(half),
            "linear decay to 0.5": steps_of(linear),
            "half, gates of examples": steps_of(half, "example"),
        },
        seconds,
    )
    print_table(f"{n_steps} training steps of {n_blocks} residual blocks, 64 examples", times)
    share = sum(linear) / n_blocks
    print(f"  share of the branches that survives: 0.50, with linear decay {share:.2f}")
    print_verdict(times, "half survive", "all branches", at_most=0.75)


def enumeration(seconds=4):
    """A unit fed by 16 masked inputs, all masks: NumPy alone, on the one thread `make` gives it."""
    rng = np.random.default_rng(0)
    w, keep_prob = rng.normal(size=16), rng.uniform(0.2, 0.9, size=16)

    def sums_of_all():
        return subnetwork_outputs(lambda masks: masks @ w, 16)

    def probabilities_of_all():
        return mask_probabilities(all_masks(16), keep_prob)

    def means_and_bound(sums, probabilities):
        outputs = expit(sums)
        variance = ensemble_mean((sums - probabilities @ sums) ** 2, probabilities)
        return (
            nwgm(outputs, probabilities),
            ensemble_mean(outputs, probabilities),
            rigorous_bound(variance),
        )

    times = take_turns(
        {
            "all": lambda: means_and_bound(sums_of_all(), probabilities_of_all()),
            "sub-networks": sums_of_all,
            "their probabilities": probabilities_of_all,
            "means and bound": partial(means_and_bound, sums_of_all(), probabilities_of_all()),
        },
        seconds,
    )
    print_table("2^16 sub-networks: outputs, NWGM, mean and bound", times)
    print_time_verdict(times, "all", seconds=1)


BENCHMARKS = [
    *(dropout_layer, every_layer, training_step),
    *(fast_dropout, stochastic_depth, monte_carlo_samples),
]


def take_turns(variants, seconds, warm_up=0.1):
    """Run the variants in turn for some seconds, and time each turn.

    Parameters
    ----------
    variants : dict of callable
        What to time, by name.
    seconds : float
        How long to go on, after the warm-up. A round that has begun is finished.
    warm_up : float
        The first rounds, up to this share of the seconds, don't count.

    Returns
    -------
    dict of numpy.ndarray
        Seconds a run, by name: one entry a round.
    """
    times = {name: [] for name in variants}
    begin = time.perf_counter()
    # nobody always runs right after the same one
    for order in itertools.cycle(itertools.permutations(variants)):
        now = time.perf_counter() - begin
        if now > (1 + warm_up) * seconds:
            break
        for name in order:
            start = time.perf_counter()
            variants[name]()
            stop = time.perf_counter()
            if now > warm_up * seconds:
                times[name].append(stop - start)
    return {name: np.array(column) for name, column in times.items()}


def print_table(title, times):
    """Print milliseconds of each variant, and its ratio to the first one in the same round."""
    first, rounds = next(iter(times.values())), len(next(iter(times.values())))
    print(title)
    print(f"threads: {torch.get_num_threads()}; medians and quartiles of {rounds} rounds")
    print(f"  {'':24} {'ms':>6} {'':15} {'ratio':>6}")
    for name, column in times.items():
        milliseconds, ratio = (
            "{1:6.2f} ({0:.2f} - {2:.2f})".format(*np.quantile(values, (0.25, 0.5, 0.75)))
            for values in (1000 * column, column / first)
        )
        print(f"  {name:24} {milliseconds:22} {'' if column is first else ratio}".rstrip())


def print_verdict(times, name, baseline, at_most):
    """Print whether the median ratio of two variants is as low as it should be."""
    ratio = np.median(times[name] / times[baseline])
    verdict = "met" if ratio <= at_most else "MISSED"
    low, high = np.quantile(times[baseline], (0.25, 0.75))
    if high > 1.5 * low:
        verdict += " - but the machine was busy, run it again"
    print(f"  target: {name} at most {at_most} x {baseline}: {ratio:.2f}, {verdict}")


def print_time_verdict(times, name, seconds):
    """Print whether the median time of a variant is as low as it should be."""
    median = np.median(times[name])
    verdict = "met" if median <= seconds else "MISSED"
    print(f"  target: {name} at most {seconds} s: {median:.3f} s, {verdict}")


if __name__ == "__main__":
    main()
