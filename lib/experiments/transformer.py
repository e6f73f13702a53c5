"""A transformer writes news: many passes over little text, and one pass over much."""

import copy
import itertools
import math

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lib.datasets import CHARACTERS, load_reuters_text
from lib.experiments.experiment import grid
from lib.experiments.protocol import Comparison
from lib.experiments.recipes import TrainedInBfloat16
from lib.layers import linear_survival
from lib.networks import transformer
from lib.training import classification_loss, error_rate

PLACES = {
    "none": [],
    "embeddings": ["keep_embedding"],
    "attention weights": ["keep_attention"],
    "feed-forward layer": ["keep_hidden"],
    "branches": ["keep_branch"],
    "all four": ["keep_embedding", "keep_attention", "keep_hidden", "keep_branch"],
    "blocks": [],  # skipped whole: their survival probabilities fall to the keep probability
}
STEPS, N_POINTS = 1280, 20
MANY = 40  # passes over 32,768 characters; one pass is over 1,310,720
RATES = [3e-3, 1e-2, 3e-2]


def masked_net(place, keep_prob, depth, width, context):
    """A transformer with masks in one place, in four, or in none."""
    survival = linear_survival(depth, keep_prob if place == "blocks" else 1.0)
    masks = dict.fromkeys(PLACES[place], keep_prob)
    return transformer(len(CHARACTERS), survival, width, context=context, **masks)


class EachPlace(nn.Module):
    """Sequences (batch, n) to logits of all their places, one after the other: an example each."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, tokens):
        return self.net(tokens).flatten(0, 1)


def sequences(text, context):
    """Cut a text into sequences, (n, context), each with its next characters, the answers."""
    n = (len(text) - 1) // context * context
    return text[:n].view(-1, context), text[1 : n + 1].view(-1, context)


@torch.no_grad()
def measured(net, text, context):
    """Loss and error of every next character, masks off. A loss that is no number is infinite."""
    x, y = sequences(text, context)
    net.eval()
    output = torch.cat([net(part) for part in x.split(64)])
    loss = classification_loss(output, y.flatten()).nan_to_num(math.inf).item()
    return loss, error_rate(output, y.flatten()).item()


def batches(x, y, size):
    """Go through the sequences again and again, each pass in an order of its own."""
    while True:
        for rows in torch.randperm(len(x)).split(size):
            yield x[rows], y[rows]


def passes_trial(
    seed, *, passes, place, keep_prob, rate, steps=STEPS, batch_size=16, context=64, width=64,
    depth=3, n_val=16_384, n_test=65_536,
):  # fmt: skip
    """Train for `steps` at a constant rate, and measure a running mean of the weights.

    The mean stands in for a rate that falls: at each point it is what a training that ends there
    would have.
    """
    n_train = steps * batch_size * context // passes + 1
    text = load_reuters_text(n_train, n_val + 1, n_test + 1, seed)
    net = TrainedInBfloat16(masked_net(place, keep_prob, depth, width, context))
    model = EachPlace(net)
    mean = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.98))
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, fused=True)
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=steps // 20)
    found, best = [], None
    model.train()
    examples = batches(*sequences(text.train, context), batch_size)
    for step, (x, y) in enumerate(itertools.islice(examples, steps), 1):
        optimizer.zero_grad()
        classification_loss(model(x), y.flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        warm.step()
        mean.update_parameters(model)
        if step * N_POINTS % steps == 0:
            found.append(measured(mean, text.val, context))
            if found[-1][0] == min(found)[0]:
                best = copy.deepcopy(mean)
    (val_loss, val_error), place_of_best = min(zip(found, itertools.count(1)))
    test_loss, test_error = measured(best, text.test, context)
    return {
        "test_loss": test_loss,
        "test_error": test_error,
        "val_loss": val_loss,
        "val_error": val_error,
        "best_step": place_of_best * steps // N_POINTS,
        "last_test_loss": measured(mean, text.test, context)[0],
        "last_train_loss": measured(mean, text.train[: n_val + 1], context)[0],
        **{f"val_loss_{k}": loss for k, (loss, _) in enumerate(found, 1)},
    }


PASSES = Comparison(
    name="transformer-passes",
    title="A small transformer on news, masks in each of its places: many passes, or a single one",
    paper="Vaswani et al. (2017), section 5.4; Liu, Bauer and Manning (2025)",
    configurations=[
        configuration
        for passes, keep_probs in ((MANY, [0.9, 0.7]), (1, [0.9]))
        for place in PLACES
        for configuration in grid(
            passes=passes, place=place, keep_prob=1.0 if place == "none" else keep_probs, rate=RATES
        )
    ],
    choices=("keep_prob", "rate"),
    chosen_by="val_loss",
    one_test_set=False,
    metrics=(
        *("test_loss", "test_error", "val_loss", "val_error", "best_step"),
        *("last_test_loss", "last_train_loss"),
        *(f"val_loss_{k}" for k in range(1, N_POINTS + 1)),
    ),
    trial=passes_trial,
    smallest={"rate": 3e-3, "steps": 200, "width": 32, "depth": 2, "n_val": 4096, "n_test": 8192},
)
