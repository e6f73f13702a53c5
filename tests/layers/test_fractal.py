"""What holds for drop-path: weights by enumeration of gates, and columns as networks."""

import re
from collections import Counter
from itertools import product, repeat

import numpy as np
import pytest
import torch
from chance import is_near
from formulas import close, every_mask
from layer_runs import every_gate, in_vmap, under_seed
from torch import nn

from lib.layers import FractalBlock, FractalJoin


def draws_of_a_join(k, keep_prob):
    """Every mask and every lucky path, who survives, and the probability."""
    masks, chances = every_mask(k, keep_prob)
    for gates, chance in zip(masks.tolist(), chances, strict=True):
        for lucky in range(k):
            survivors = gates if any(gates) else [int(i == lucky) for i in range(k)]
            yield gates, lucky, survivors, chance / k


def curved(width=3):
    return nn.Sequential(nn.Linear(width, width), nn.Tanh()).double()


def linear(width=3):
    return nn.Linear(width, width).double()


# The weights of a join


@pytest.mark.parametrize("keep_prob", [0.01, 0.3, 0.85, 1.0])
@pytest.mark.parametrize("k", [2, 3, 4])
def test_over_all_draws_each_path_has_the_mean_weight_one_over_k(k, keep_prob, force):
    join, paths = FractalJoin(0.5), torch.eye(k, dtype=torch.float64)  # the output is the weights
    mean = torch.zeros(k, dtype=torch.float64)
    for gates, lucky, survivors, chance in draws_of_a_join(k, keep_prob):
        force([gates], [lucky])
        weights = join(paths)
        close(weights, np.divide(survivors, sum(survivors)), 1e-15)
        mean += chance * weights
    close(mean, np.full(k, 1 / k))


@pytest.mark.parametrize("keep_prob", [1e-12, 1e-4, 0.3, 0.85])
def test_survivors_come_as_often_as_the_enumeration_says(keep_prob):
    n, k = 20_000, 3
    expected = Counter()
    for *_, survivors, chance in draws_of_a_join(k, keep_prob):
        expected[tuple(survivors)] += chance
    weights = FractalJoin(keep_prob, "example")(torch.eye(k)[:, None].expand(k, n, k))
    seen = Counter(map(tuple, (weights > 0).int().tolist()))
    assert set(seen) <= set(expected)
    for survivors, chance in expected.items():
        assert is_near(seen[survivors] / n, chance, np.sqrt(chance * (1 - chance)), n)


def test_the_gates_of_examples_and_of_calls_are_their_own():
    join, n = FractalJoin(0.5, "example"), 2000
    y = torch.stack([join((torch.zeros(4), torch.ones(4))) for _ in range(n)])
    assert is_near(np.corrcoef(y, rowvar=False), np.eye(4), 1, n)


@every_gate
def test_one_path_comes_back_as_it_is_and_a_stack_is_its_paths(gate):
    join, paths = FractalJoin(0.3, gate), torch.randn(3, 6, 2)
    assert torch.equal(join([paths[0]]), paths[0])
    assert torch.equal(under_seed(join, paths), under_seed(join, tuple(paths)))


# The block


@pytest.mark.parametrize("columns", range(1, 7))
def test_a_block_has_two_to_the_columns_less_one_layers(columns):
    block = FractalBlock(nn.Identity, columns)
    assert sum(isinstance(each, nn.Identity) for each in block.modules()) == 2**columns - 1
    assert [len(column) for column in block.columns] == [2**c for c in range(columns)]


def expanded(columns, column, first, last, z):
    """The recursion itself: the outputs that meet at the end of f_C, layers first ... last."""
    if len(columns) == column:  # the deepest: a layer
        return [columns[column - 1][first](z)]
    deeper = len(columns) - column
    half = 2 ** (deeper - 1)
    inner = torch.stack(expanded(columns, column + 1, first, first + half, z)).mean(0)
    paths = expanded(columns, column + 1, first + half, last, inner)
    return [*paths, columns[column - 1][first // 2**deeper](z)]


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_eval_is_the_recursion_of_the_paper_with_adjacent_joins_made_one(n):
    block, x = FractalBlock(curved, n).eval(), torch.randn(5, 3).double()
    paths = expanded(block.columns, 1, 0, 2 ** (n - 1), x)
    assert len(paths) == n
    torch.testing.assert_close(block(x), torch.stack(paths).mean(dim=0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_a_single_column_is_the_sequence_of_its_layers_in_every_mode(training):
    block, x = FractalBlock(curved, 3, 0.3).train(training), torch.randn(5, 3).double()
    before = torch.get_rng_state()
    for c in (1, 2, 3):
        y = x
        for layer in block.columns[c - 1]:
            y = layer(y)
        assert torch.equal(block(x, column=c), y)
        assert torch.equal(block.column(c)(x), y)
    assert torch.equal(torch.get_rng_state(), before)


@every_gate
def test_global_drop_path_gives_the_output_of_exactly_one_column_each_as_often(gate):
    n, x = 1200, torch.randn(1, 3).double()
    block = FractalBlock(curved, 3, 0.3, global_share=1, gate=gate)
    columns = torch.stack([block(x, column=c) for c in (1, 2, 3)])[:, 0]
    y = torch.cat([block(x) for _ in range(n)]) if gate == "batch" else block(x.expand(n, 3))
    match = (y[:, None] - columns).abs().amax(dim=-1) < 1e-12
    assert (match.sum(dim=1) == 1).all()
    assert is_near(match.double().mean(dim=0), np.full(3, 1 / 3), np.sqrt(2 / 9), n)


def test_with_gates_of_a_batch_a_global_draw_computes_and_trains_its_column_alone(force):
    block = FractalBlock(curved, 3)
    for c in (1, 2, 3):
        force([1], [c])
        block.zero_grad()
        block(torch.randn(5, 3).double()).sum().backward()
        for number, column in enumerate(block.columns, start=1):
            assert all((w.grad is not None) == (number == c) for w in column.parameters())


def test_columns_that_are_computed_and_left_out_are_drawn_alike_and_get_a_gradient_of_zero():
    block, x = FractalBlock(curved, 3, skip=True), torch.randn(5, 3).double()
    for seed in range(30):
        block.skip = True
        skipped = under_seed(block, x, seed)
        block.skip = False
        torch.testing.assert_close(skipped, under_seed(block, x, seed))
    block.zero_grad()
    block(x).sum().backward()
    assert all(w.grad is not None for w in block.parameters())


@every_gate
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_draw_is_global_with_its_probability(gate, share):
    """Layers that add 1, 10, 100 in columns of their own: a global output has one digit."""
    n, block = 1000, FractalBlock(nn.Identity, 3, 1.0, share, gate)
    for c, column in enumerate(block.columns):
        for i in range(len(column)):
            column[i] = Plus(10**c)
    x = torch.zeros(1, 1).double()
    y = block(x.expand(n, 1)) if gate == "example" else torch.cat([block(x) for _ in range(n)])
    mean = block.eval()(x).item()
    assert set(y.flatten().tolist()) <= {1.0, 20.0, 400.0, mean}
    local = (y == mean).double().mean()
    assert is_near(local, 1 - share, np.sqrt(share * (1 - share)), n)


class Plus(nn.Module):
    def __init__(self, number):
        super().__init__()
        self.number = number

    def forward(self, x):
        return x + self.number


@pytest.mark.parametrize(("make", "exact"), [(linear, True), (curved, False)])
def test_the_mean_over_local_draws_is_eval_for_affine_layers_and_only_for_them(make, exact, force):
    block, x = FractalBlock(make, 3, 0.5, global_share=0), torch.randn(20, 3).double()
    mean = 0
    for lower, upper in product(draws_of_a_join(2, 0.5), draws_of_a_join(3, 0.5)):
        gates, lucky, _, chances = zip(lower, upper, strict=True)
        force(gates, lucky)
        mean = mean + np.prod(chances) * block(x).detach()
    off = (mean - block.eval()(x)).abs().max().item()
    assert off < 1e-12 if exact else off > 1e-3


# torch.func


@every_gate
def test_under_vmap_each_model_draws_for_itself(gate):
    n, join = 2000, FractalJoin(0.4, gate)
    paths = torch.stack([torch.zeros(3), torch.ones(3)])
    for y in (
        in_vmap(join, paths.expand(n, 2, 3), "different"),
        in_vmap(lambda _: join(paths), torch.arange(n), "different"),
    ):
        assert set(y.unique().tolist()) == {0.0, 0.5, 1.0}
        together = np.corrcoef(y, rowvar=False)
        assert is_near(together, np.eye(3) if gate == "example" else np.ones((3, 3)), 1, n)
        assert is_near(y.double().mean(0), 0.5, 0.5, n)


@every_gate
def test_under_vmap_a_global_draw_gives_columns_and_none_else(gate):
    block, x = FractalBlock(curved, 3, 0.3, global_share=1, gate=gate), torch.randn(4, 3).double()
    columns = torch.stack([block(x, column=c) for c in (1, 2, 3)], dim=1)  # (4, columns, 3)
    y = in_vmap(lambda _: block(x), torch.arange(200), "different")  # (200, 4, 3)
    match = (y[:, :, None] - columns).abs().amax(dim=-1) < 1e-12  # (200, 4, columns)
    assert (match.sum(dim=-1) == 1).all()
    assert match.any(dim=0).all()
    same = (match == match[:, :1]).all()
    assert same if gate == "batch" else not same


# Bad input


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: FractalBlock(lambda: torch.tanh, 2), TypeError, "make_layer must return a torch"),
        (
            lambda: FractalBlock(nn.Identity, 3)(torch.ones(1), column=4),
            ValueError,
            "column must be a whole number from 1 to 3, got 4",
        ),
        (
            lambda: FractalBlock(repeat(nn.Identity()).__next__, 2),
            ValueError,
            "make_layer must return a new module at each call, got Identity() a second time",
        ),
        (lambda: FractalJoin()([]), ValueError, "paths must be a list of 1 or more"),
    ],
)
def test_a_bad_argument_is_an_error_that_names_it(build, error, message):
    with pytest.raises(error, match=re.escape(message)):
        build()


@pytest.mark.parametrize("training", [True, False])
def test_paths_of_different_shapes_are_a_value_error(training):
    message = re.escape("paths must be tensors of one shape, got [(2, 3), (2, 1)]")
    with pytest.raises(ValueError, match=message):
        FractalJoin().train(training)([torch.ones(2, 3), torch.ones(2, 1)])
