"""What the experiments share: how to train, and how to read a training history."""

import torch
from torch import nn

from lib.training import fit, one_cycle


class TrainedInBfloat16(nn.Module):
    """A network whose matrix products are computed in bfloat16 in training, for speed.

    Weights, gradients and steps stay in float32, and so does prediction. On a processor without
    instructions for bfloat16 this is slower, not faster.

    Parameters
    ----------
    net : torch.nn.Module
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


def fit_one_cycle(model, data, epochs, *, rate=0.1, batch_size=128, max_norm=None):
    """Train with momentum and a one-cycle rate; measure after the last epoch only.

    Parameters
    ----------
    model, data, epochs, batch_size, max_norm
        As in `fit`.
    rate : float
        The peak of the rate.

    Returns
    -------
    lib.training.History
        Of one row.
    """
    return fit(
        model,
        data,
        epochs=epochs,
        batch_size=batch_size,
        max_norm=max_norm,
        every=epochs,
        optimizer=one_cycle(rate),
    )


def after_last_epoch(history):
    """Read the metrics after the last epoch: nothing is chosen.

    Parameters
    ----------
    history : lib.training.History

    Returns
    -------
    dict
        Test error and test loss, and the training loss with masks on and off.
    """
    return {
        "test_error": history.test_error[-1],
        "test_loss": history.test_loss[-1],
        "train_loss": history.train_loss[-1],
        "train_loss_masks_on": history.train_loss_masks_on[-1],
    }


def at_best_epoch(history, every=1):
    """Read the metrics at the epoch with the lowest validation loss.

    Parameters
    ----------
    history : lib.training.History
        With validation data.
    every : int
        That of `fit`.

    Returns
    -------
    dict
        Test error and test loss at that epoch, the validation loss it was chosen by, and its
        number.
    """
    best = int(history.val_loss.argmin())
    return {
        "test_error": history.test_error[best],
        "test_loss": history.test_loss[best],
        "val_loss": history.val_loss[best],
        "best_epoch": every * (best + 1),
    }
