"""What holds for stochastic depth: means by enumeration of gates, and what is not computed."""

import re
from functools import partial

import numpy as np
import pytest
import torch
from chance import few_examples, is_near, keep_probs
from formulas import close, every_mask
from hypothesis import given
from hypothesis import strategies as st
from layer_runs import every_gate, every_scaling, in_vmap, under_seed
from torch import nn

from lib.layers import StochasticDepth, linear_survival
from lib.layers.draw import keep_mask


class Recording(nn.Module):
    """A branch that keeps the inputs that it is called with."""

    def __init__(self, branch):
        super().__init__()
        self.branch = branch
        self.inputs = []

    def forward(self, x):
        self.inputs.append(x)
        return self.branch(x)


def curved(width=3):
    return nn.Sequential(nn.Linear(width, 4), nn.Tanh(), nn.Linear(4, width)).double()


def mean_over_gates(net, x, survival_probs, force):
    """Mean output of a net over all gates of its blocks."""
    masks, probabilities = every_mask(len(survival_probs), survival_probs)
    outputs = []
    for gates in masks:
        force(gates)
        outputs.append(net.train()(x).detach().numpy())
    return np.tensordot(probabilities, np.array(outputs), axes=1)


# The mean


@every_scaling
@every_gate
@pytest.mark.parametrize("survival_prob", [0.2, 0.5, 0.9])
def test_the_mean_of_one_block_is_eval_whatever_the_branch(gate, scaling, survival_prob, force):
    layer, x = StochasticDepth(curved(), survival_prob, gate, scaling), torch.randn(5, 3).double()
    mean = mean_over_gates(layer, x, [survival_prob], force)
    close(mean, layer.eval()(x).detach())


@every_scaling
@pytest.mark.parametrize("affine", [True, False])
def test_the_mean_of_a_stack_of_linear_blocks_is_eval(scaling, affine, force):
    survival_probs, x = linear_survival(5, 0.3), torch.randn(4, 3).double()
    branches = [nn.Linear(3, 3, bias=affine).double() for _ in survival_probs]
    blocks = zip(branches, survival_probs, strict=True)
    net = nn.Sequential(*(StochasticDepth(f, p, scaling=scaling) for f, p in blocks))
    mean = mean_over_gates(net, x, survival_probs, force)
    close(mean, net.eval()(x).detach())


@pytest.mark.parametrize("after", [nn.Identity, nn.ReLU])
def test_with_a_nonlinearity_in_or_behind_the_blocks_the_mean_is_not_eval(after, force):
    """The limit of the two tests above: a ReLU after each sum, or branches with a tanh."""
    branch = curved if after is nn.Identity else lambda: nn.Linear(3, 3).double()
    survival_probs, x = [0.5, 0.5], torch.randn(20, 3).double()
    blocks = [(StochasticDepth(branch(), p), after()) for p in survival_probs]
    net = nn.Sequential(*(layer for block in blocks for layer in block))
    mean = mean_over_gates(net, x, survival_probs, force)
    assert np.abs(mean - net.eval()(x).detach().numpy()).max() > 0.01


# Training


@every_scaling
@pytest.mark.parametrize(("gate", "shape"), [("batch", ()), ("example", (6, 1))])
def test_it_is_as_if_all_were_computed_and_masked(gate, shape, scaling):
    p, branch, weights = 0.4, curved(), torch.randn(6, 3).double()
    layer = StochasticDepth(branch, p, gate, scaling)
    x = torch.randn(6, 3).double().requires_grad_()
    for seed in range(20):
        y = under_seed(layer, x, seed)
        mask = under_seed(partial(keep_mask, keep_prob=p, shape=shape), x, seed)
        expected = x + mask / (p if scaling == "inverted" else 1) * branch(x)
        torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
        if mask.any():
            inputs = (x, *branch.parameters())
            ours, masked = (torch.autograd.grad(out, inputs, weights) for out in (y, expected))
            torch.testing.assert_close(ours, masked, rtol=0, atol=1e-12)


@every_scaling
@every_gate
def test_a_branch_that_is_computed_and_masked_draws_the_same_gates(gate, scaling):
    branch, x = curved(), torch.randn(6, 3).double()
    layers = [StochasticDepth(branch, 0.4, gate, scaling, skip=skip) for skip in (True, False)]
    outputs = set()
    for seed in range(20):
        skipped, computed = (under_seed(layer, x, seed) for layer in layers)
        torch.testing.assert_close(skipped, computed)
        outputs.add(computed.detach().numpy().tobytes())
    assert len(outputs) > 1


@every_gate
def test_a_branch_that_is_not_skipped_is_called_with_all_and_gets_a_gradient_of_zero(gate, force):
    layer = StochasticDepth(Recording(nn.Linear(3, 3)), gate=gate, skip=False)
    x = torch.randn(5, 3, requires_grad=True)
    force([[0] * 5 if gate == "example" else 0])
    layer(x).sum().backward()
    assert torch.equal(layer.branch.inputs[0], x)
    assert torch.equal(x.grad, torch.ones(5, 3))
    assert all(not parameter.grad.any() for parameter in layer.parameters())


def test_a_branch_that_is_dropped_is_not_called_and_gets_no_gradient(force):
    layer, x = StochasticDepth(Recording(nn.Linear(3, 3))), torch.randn(5, 3, requires_grad=True)
    force([0, 1])
    (layer(x) * torch.ones(5, 3)).sum().backward()
    assert layer.branch.inputs == []
    assert torch.equal(x.grad, torch.ones(5, 3))
    assert all(parameter.grad is None for parameter in layer.parameters())
    layer(x).sum().backward()
    assert len(layer.branch.inputs) == 1
    assert all(parameter.grad is not None for parameter in layer.parameters())


@pytest.mark.parametrize("gates", [[0, 1, 1, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
def test_the_branch_is_called_with_the_examples_that_survive_and_never_without_any(gates, force):
    layer, x = StochasticDepth(Recording(nn.Linear(3, 3)), gate="example"), torch.randn(5, 3)
    force([gates])
    layer(x)
    survivors = x[torch.tensor(gates) == 1]
    assert len(layer.branch.inputs) == (1 if len(survivors) else 0)
    for seen in layer.branch.inputs:
        assert torch.equal(seen, survivors)


def test_an_example_survives_whole():
    y = StochasticDepth(nn.Identity(), 0.5, "example")(torch.ones(100, 2, 3))
    assert (y == y[:, :1, :1]).all()
    assert y.unique().tolist() == [1, 3]


@every_gate
def test_under_autocast_the_sum_has_the_dtype_of_the_input(gate):
    layer, x = StochasticDepth(nn.Linear(3, 3), 0.5, gate), torch.randn(5, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert {layer(x).dtype for _ in range(10)} == {torch.float32}


# Batch normalization in the branch


def test_batch_norm_sees_the_survivors_alone_of_which_there_must_be_two(force):
    norm = nn.BatchNorm1d(3, momentum=1.0)
    layer, x = StochasticDepth(norm, gate="example"), torch.randn(4, 3)
    force([[1, 0, 1, 0], [0, 1, 0, 0]])
    layer(x)
    torch.testing.assert_close(norm.running_mean, x[[0, 2]].mean(dim=0))
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        layer(x)


@every_gate
def test_batch_norm_sees_all_examples_where_none_is_skipped(gate, force):
    norm, x = nn.BatchNorm1d(3, momentum=1.0), torch.randn(4, 3)
    force([[0, 1, 0, 0] if gate == "example" else 0])
    StochasticDepth(norm, gate=gate, skip=False)(x)
    torch.testing.assert_close(norm.running_mean, x.mean(dim=0))


# torch.func


@every_gate
@every_scaling
def test_under_vmap_each_model_has_gates_of_its_own(gate, scaling):
    n, p, branch = 2000, 0.4, curved()
    layer, x = StochasticDepth(branch, p, gate, scaling), torch.randn(3, 3).double()
    for y in (
        in_vmap(layer, x.expand(n, 3, 3), "different"),
        in_vmap(lambda _: layer(x), torch.arange(n), "different"),  # they share their input
    ):
        gates = (y - x) / branch(x) * (p if scaling == "inverted" else 1)
        torch.testing.assert_close(gates, gates.round(), rtol=0, atol=1e-9)
        gates = gates.detach().round()
        assert set(gates.unique().tolist()) == {0, 1}
        assert (gates == gates[:, :, :1]).all()  # an example is dropped whole
        gates = gates[:, :, 0]
        assert is_near(gates.mean(0), p, np.sqrt(p * (1 - p)), n)
        together = np.corrcoef(gates, rowvar=False)
        assert is_near(together, np.eye(3) if gate == "example" else np.ones((3, 3)), 1, n)


# Bad input


@every_gate
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("n_out", [1, 4])  # 1 would broadcast
def test_a_branch_that_changes_the_shape_is_a_value_error(gate, training, n_out, force):
    layer = StochasticDepth(nn.Linear(3, n_out), 0.5, gate).train(training)
    message = f"branch must keep the shape of its input, (5, 3), got (5, {n_out})"
    force([1, [1, 0, 1, 0, 0] if gate == "example" else 1])
    with pytest.raises(ValueError, match=re.escape(message)):
        layer(torch.ones(5, 3))
    with pytest.raises(ValueError, match="branch must keep the shape of its input"):
        layer(torch.ones(5, 3))
    with pytest.raises(ValueError, match=re.escape(message)):
        in_vmap(layer.eval(), torch.ones(2, 5, 3), "different")


# Linear decay


@few_examples
@given(n_blocks=st.integers(1, 300), last=keep_probs)
def test_survival_falls_linearly_from_one_at_the_input_to_its_last_value(n_blocks, last):
    probs = linear_survival(n_blocks, last)
    expected = [1 - block / n_blocks * (1 - last) for block in range(1, n_blocks + 1)]
    close(probs, expected)
    assert probs[-1] == last
    assert 0 < min(probs) <= max(probs) <= 1


@pytest.mark.parametrize("n_blocks", [1, 2, 54, 1000])
def test_by_default_three_quarters_of_the_blocks_survive_on_average(n_blocks):
    close(sum(linear_survival(n_blocks)), (3 * n_blocks - 1) / 4)
