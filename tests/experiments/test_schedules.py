"""Masks on a schedule: which keep probability each step has, and that training uses it."""

import math

import numpy as np
import pytest
import torch
from real_data import needs_data

from lib.datasets import load_digits
from lib.experiments.schedules import (
    SCHEDULES,
    ScheduledMasks,
    keep_probs,
    on_schedule,
    schedule_trial,
)
from lib.networks import digit_classifier
from lib.training import fit, seed_everything


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_before_and_after_the_switch_masks_are_as_the_schedule_says(schedule):
    before, after = np.split(keep_probs(schedule, 0.8, 0.25, 400), [100])
    early, late = schedule in ("early", "always"), schedule in ("late", "always")
    assert before[0] == (0.8 if early else 1)
    assert (after == (0.8 if late else 1)).all()


def test_early_masks_fade_in_equal_steps_and_late_ones_begin_at_once():
    early = keep_probs("early", 0.5, 0.5, 202)[:101]
    assert (early[0], early[-1]) == (0.5, 1)
    np.testing.assert_allclose(np.diff(early), 0.005)
    assert set(keep_probs("late", 0.5, 0.5, 202)) == {0.5, 1}


@pytest.mark.parametrize(("share", "other"), [(0.0, "none"), (1.0, "late")])
def test_early_masks_of_no_length_are_none_and_so_are_late_ones_that_never_begin(share, other):
    schedule = "early" if share == 0 else "late"
    assert (keep_probs(schedule, 0.5, share, 10) == 1).all()
    assert (keep_probs(other, 0.5, share, 10) == 1).all()


class Rates:
    steps = 0

    def step(self):
        self.steps += 1


def test_each_step_sets_all_dropout_layers_and_moves_the_rate_on():
    model, rates, kept = digit_classifier(), Rates(), [0.5, 0.75, 1.0]
    masks, seen = ScheduledMasks(model, kept, rates), []
    for _ in kept:
        seen.append((model[2].keep_prob, model[5].keep_prob))
        masks.step()
    assert seen == [(p, p) for p in kept]
    assert rates.steps == 3


def trained(schedule, keep_prob=0.5, share=0.5):
    data = load_digits(n_train=200, n_val=0, seed=0)
    seed_everything(0)
    model = digit_classifier()
    optimizer = on_schedule(model, 0.1, schedule, keep_prob, share)
    return fit(model, data, epochs=4, batch_size=50, optimizer=optimizer)


def test_a_network_without_our_dropout_is_an_error():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.5))
    with pytest.raises(ValueError, match="model must have a layer of lib.layers.Dropout"):
        ScheduledMasks(net, [0.9], rates=None)


def test_training_has_masks_where_the_schedule_has_them():
    none, always, early, late = (trained(schedule).train_loss for schedule in SCHEDULES)
    assert torch.equal(late[:2], none[:2])
    assert not torch.equal(late[2:], none[2:])
    assert not torch.equal(early[:2], none[:2])
    assert not torch.equal(always[:1], early[:1])  # which fade
    assert torch.equal(trained("always", keep_prob=1.0).train_loss, none)


@needs_data("fashion-mnist")
def test_a_network_that_diverges_has_an_infinite_loss():
    sizes = {"hidden": 10, "n_train": 500, "n_val": 100, "epochs": 1}
    row = schedule_trial(0, regime="overfits", schedule="none", keep_prob=1.0, rate=1e30, **sizes)
    assert {row["train_loss"], row["val_loss"], row["test_loss"]} == {math.inf}
    assert (row["val_error"], row["test_error"]) == (1, 1)
