"""What the experiments share: how to train, and what is read off the training."""

import torch
from torch import nn

from lib.training import fit, one_cycle


class TrainedInBfloat16(nn.Module):
    """A network whose matrix products are computed in bfloat16 in training, for speed.

    Weights, gradients and steps stay in float32, and so does prediction. On a processor without
    instructions for bfloat16 this is slower, not faster.
    """

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.training):
            return self.net(x).float()


# What "dropout" means where an experiment only says with or without: the rates of Hinton et al.
# (2012) and Srivastava et al. (2014) for MNIST.
KEEP_PROBS = {
    "none": {},
    "hidden": {"keep_hidden": 0.5},
    "hidden+input": {"keep_hidden": 0.5, "keep_input": 0.8},
}

AFTER_LAST_EPOCH = ("test_error", "test_loss", "train_loss", "train_loss_masks_on")


def train(model, data, epochs, *others, rate=0.1, batch_size=128, max_norm=None):
    """Train with momentum and a one-cycle rate, of which `rate` is the peak.

    The metrics, and the others of the history that are named, are those after the last epoch:
    nothing is chosen.
    """
    history = fit(
        model,
        data,
        epochs=epochs,
        batch_size=batch_size,
        max_norm=max_norm,
        every=epochs,
        optimizer=one_cycle(rate),
    )
    return {name: getattr(history, name)[-1] for name in (*AFTER_LAST_EPOCH, *others)}


def at_best_epoch(history, every=1):
    """Read the metrics at the epoch with the lowest validation loss; `every` is that of `fit`."""
    best = int(history.val_loss.argmin())
    names = ("test_error", "test_loss", "val_loss")
    metrics = {name: getattr(history, name)[best] for name in names}
    return metrics | {"best_epoch": every * (best + 1)}
