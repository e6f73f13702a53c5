"""What holds for the data of the book."""

import pytest
import torch
from chance import few_examples
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn import datasets

from lib.datasets import autoencoding, load_digits
from lib.side_by_side import stack_splits

ALL = 1797
seeds = st.integers(0, 1000)
test_seeds = st.none() | seeds
sizes = st.integers(10, ALL - 10)


def images(x):
    """The images of a data set as a sorted list, to compare sets."""
    return sorted(map(tuple, x.tolist()))


def same(parts, others):
    return all(torch.equal(one, other) for one, other in zip(parts, others, strict=True))


def class_counts(y):
    return torch.bincount(y, minlength=10)


SHARES = class_counts(torch.tensor(datasets.load_digits().target)) / ALL


def test_the_images_are_64_pixels_from_0_to_1_and_the_labels_whole_numbers_from_0_to_9():
    digits = load_digits(n_val=100)
    for x, y in (digits[:2], digits[2:4], digits[4:]):
        assert x.dtype == torch.float32
        assert x.shape == (len(y), 64)
        assert (x.min(), x.max()) == (0, 1)
        assert y.dtype == torch.int64
        assert y.unique().tolist() == list(range(10))


def test_each_image_is_scikit_learns_with_its_label():
    pixels, labels = datasets.load_digits(return_X_y=True)
    label_of = dict(zip(map(tuple, (pixels / 16).tolist()), labels, strict=True))
    digits = load_digits(seed=5)
    for image, label in zip(digits.x_train.tolist(), digits.y_train.tolist(), strict=True):
        assert label_of[tuple(image)] == label


@few_examples
@given(n_train=sizes, n_val=st.just(0) | sizes, n_test=sizes, seed=seeds, test_seed=test_seeds)
def test_sizes_are_those_asked_for_and_the_three_parts_share_no_image(
    n_train, n_val, n_test, seed, test_seed
):
    assume(n_train + n_val + n_test <= ALL)
    digits = load_digits(n_train, n_val, n_test, seed, test_seed=test_seed)
    assert [len(part) for part in digits[::2]] == [n_train, n_val, n_test]
    assert [len(part) for part in digits[1::2]] == [n_train, n_val, n_test]
    # no image occurs twice in the data, so parts that share none hold this many different ones
    everything = torch.cat(digits[::2])
    assert len(everything.unique(dim=0)) == n_train + n_val + n_test


@few_examples
@given(n_train=sizes, n_val=st.integers(10, 500), n_test=sizes, seed=seeds, test_seed=test_seeds)
def test_each_class_is_there_and_has_its_share_give_or_take_two(
    n_train, n_val, n_test, seed, test_seed
):
    assume(n_train + n_val + n_test <= ALL)
    digits = load_digits(n_train, n_val, n_test, seed, test_seed=test_seed)
    for y in (digits.y_train, digits.y_test):
        assert class_counts(y).min() >= 1
        assert (class_counts(y) - SHARES * len(y)).abs().max() < 2
    # between the two it is the difference of two such shares
    assert (class_counts(digits.y_val) - SHARES * n_val).abs().max() < 4


@pytest.mark.parametrize("seed", range(100))
def test_ten_examples_are_the_ten_digits(seed):
    digits = load_digits(n_train=10, n_test=10, seed=seed)
    assert digits.y_train.sort().values.tolist() == list(range(10))
    assert digits.y_test.sort().values.tolist() == list(range(10))


@few_examples
@given(n_small=st.integers(10, 600), n_more=st.integers(0, 600), seed=seeds)
def test_for_one_seed_a_training_set_begins_with_every_smaller_one(n_small, n_more, seed):
    small, large = load_digits(n_small, seed=seed), load_digits(n_small + n_more, seed=seed)
    assert same([part[:n_small] for part in large[:2]], small[:2])


@few_examples
@given(n_train=st.integers(10, 600), n_val=st.just(0) | st.integers(10, 600), seed=seeds)
def test_for_one_seed_the_test_set_depends_on_no_other_size(n_train, n_val, seed):
    assert same(load_digits(n_train, n_val, seed=seed)[4:], load_digits(seed=seed)[4:])


@few_examples
@given(seed=seeds, test_seed=seeds, n_val=st.just(0) | st.integers(10, 300))
def test_all_seeds_can_share_the_test_set_of_one(seed, test_seed, n_val):
    one, other = (load_digits(900, n_val, seed=s, test_seed=test_seed) for s in (seed, seed + 1))
    for shared in (one, other):
        assert same(shared[4:], load_digits(seed=test_seed)[4:])
    assert images(one.x_train) != images(other.x_train)


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    first, again, other = (load_digits(seed=seed) for seed in (1, 1, 2))
    assert same(first, again)
    assert images(first.x_test) != images(other.x_test)


def test_loading_leaves_the_global_generators_alone():
    before = torch.get_rng_state()
    load_digits()
    assert torch.equal(torch.get_rng_state(), before)


def test_sizes_that_do_not_fit_together_are_an_error():
    with pytest.raises(ValueError, match="^n_val must be 0 or at least 10, got 9$"):
        load_digits(n_val=9)
    message = r"^n_train \+ n_val \+ n_test must be at most 1797, got 1000 \+ 301 \+ 497 = 1798$"
    with pytest.raises(ValueError, match=message):
        load_digits(n_train=1000, n_val=301)


SPLITS = {
    "two parts": load_digits(50, 0, 30),
    "three parts": load_digits(50, 20, 30),
    "several networks": stack_splits([load_digits(50, 20, 30, seed) for seed in range(3)]),
}


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
def test_in_autoencoding_the_targets_of_each_part_are_its_inputs(split):
    assert same(autoencoding(split)[::2], split[::2])
    assert same(autoencoding(split)[1::2], split[::2])
