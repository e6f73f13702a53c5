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
WITH_VALIDATION = (*AFTER_LAST_EPOCH, "val_loss")


def train(model, data, epochs, measure=AFTER_LAST_EPOCH, **settings):
    """Train, and measure after the last epoch: nothing is chosen.

    The settings are those of `fit`; what is not said is momentum with a one-cycle rate.
    """
    settings = {"batch_size": 128, "optimizer": one_cycle(0.1)} | settings
    history = fit(model, data, epochs=epochs, every=epochs, **settings)
    return {name: getattr(history, name)[-1] for name in measure}


def at_best_epoch(history):
    """Read the metrics at the epoch with the lowest validation loss, all epochs measured."""
    best = int(history.val_loss.argmin())
    names = ("test_error", "test_loss", "val_loss")
    return {**{name: getattr(history, name)[best] for name in names}, "best_epoch": best + 1}
