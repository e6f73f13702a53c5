"""What holds for batch normalization measured anew."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from training_runs import modes, states_equal

from lib.inference import batch_norm_reestimated
from lib.layers import Dropout


def behind_dropout(momentum):
    """Dropout on the inputs of a layer, then batch norm and dropout again."""
    first = Dropout(0.5), nn.Linear(4, 3), nn.BatchNorm1d(3, momentum=momentum)
    return nn.Sequential(*first, nn.ReLU(), Dropout(0.5), nn.Linear(3, 3), nn.BatchNorm1d(3))


@pytest.mark.parametrize("momentum", [0.1, 1.0, None])
def test_reestimated_statistics_are_the_mean_over_batches_without_masks(momentum):
    model = behind_dropout(momentum)
    batches = torch.randn(5, 20, 4) + 1
    for batch in batches:
        model(batch)  # in training: masks on
    before = copy.deepcopy(model)
    found = batch_norm_reestimated(model, batches)
    sums = [model[1](batch) for batch in batches]
    mean, var = (sum(of(s, dim=0) for s in sums) / 5 for of in (torch.mean, torch.var))
    torch.testing.assert_close(found[2].running_mean, mean)
    torch.testing.assert_close(found[2].running_var, var)
    assert found[2].momentum == momentum
    assert not any(modes(found))
    assert states_equal(model, before)
    assert all(modes(model))


def test_reestimating_needs_something_to_estimate():
    forgetful = nn.BatchNorm1d(2, track_running_stats=False)
    for model in (nn.Linear(4, 2), nn.Sequential(nn.Linear(4, 2), forgetful)):
        with pytest.raises(ValueError, match="model must have batch normalization"):
            batch_norm_reestimated(model, [torch.randn(8, 4)])


def test_inputs_may_come_with_labels_one_batch_after_the_other():
    model, x = behind_dropout(0.1), torch.randn(12, 4)
    expected = states(batch_norm_reestimated(model, x.split(3)))
    loader = DataLoader(TensorDataset(x, torch.arange(12)), batch_size=3)
    for batches in (loader, ([each] for each in x.split(3)), iter(x.split(3))):
        assert states(batch_norm_reestimated(model, batches)) == expected

    def stream():
        for batch in x.split(3):
            seen.append("asked for")
            yield batch, None

    seen, counted = [], copy.deepcopy(model)
    counted.register_forward_hook(lambda *_: seen.append("used"))
    batch_norm_reestimated(counted, stream())
    assert seen == 4 * ["asked for", "used"]


def states(model):
    return {name: value.tolist() for name, value in model.state_dict().items()}
