"""What holds for the one draw behind every mask."""

import numpy as np
import pytest
import torch
from chance import is_near
from layer_runs import every_dtype, in_vmap

from lib.layers import draw
from lib.layers.draw import keep_mask

KEEP_PROBS = [1e-9, 1e-3, 0.1, 0.3, 0.5, 0.9, 1 - 1e-9, 1.0]
N = 400_000


@pytest.fixture(params=["plain", "fast"])
def either_draw(request, monkeypatch):
    """The plain draw, and the one that stands in for it on a CPU."""
    if request.param == "plain":
        monkeypatch.setattr(draw, "_is_slow_on", lambda device: False)


@pytest.mark.usefixtures("either_draw")
class TestBothDraws:
    @pytest.mark.parametrize("keep_prob", KEEP_PROBS)
    def test_an_entry_is_kept_with_keep_prob(self, keep_prob):
        mask = keep_mask(torch.ones(N), keep_prob)
        assert set(mask.unique().tolist()) <= {0, 1}
        assert is_near(mask.double().mean(), keep_prob, np.sqrt(keep_prob * (1 - keep_prob)), N)

    @pytest.mark.parametrize("keep_prob", [0.1, 0.5, 0.9])
    def test_entries_are_independent(self, keep_prob):
        mask = keep_mask(torch.ones(N), keep_prob).double()
        deviation = (mask - keep_prob) / np.sqrt(keep_prob * (1 - keep_prob))
        for lag in (1, 2, 3, 4, 5, 8, 16):  # two share a word
            assert is_near((deviation[:-lag] * deviation[lag:]).mean(), 0, 1, N - lag)

    @every_dtype
    def test_the_mask_has_the_dtype_of_x(self, dtype):
        mask = keep_mask(torch.ones(3, 5, dtype=dtype), 0.5)
        assert (mask.dtype, mask.shape) == (dtype, (3, 5))

    @pytest.mark.parametrize("shape", [(), (0,), (7,), (4, 1), (4, 0, 1), (2, 3, 1, 1)])
    def test_any_shape_may_be_asked_for(self, shape):
        mask = keep_mask(torch.ones(5), 0.5, shape)
        assert mask.shape == shape

    def test_under_vmap_each_model_draws_independently(self):
        masks = in_vmap(lambda x: keep_mask(x, 0.5), torch.ones(40, 5000), "different")
        assert is_near(np.corrcoef(masks.numpy()), np.eye(40), 1, 5000)


@pytest.mark.parametrize("keep_prob", [2**-32, 1e-5, 0.3, 0.5, 0.7, 1 - 2**-32])
def test_of_all_words_the_share_that_keeps_is_keep_prob_to_half_a_step(keep_prob, monkeypatch):
    """Around the threshold, exactly the words below it keep."""
    kept_below = round(keep_prob * 2**32)  # so many of the 2^32 numbers, the smallest ones
    if kept_below == 1:  # the smallest step: the plain draw takes over below
        keep_prob = 2**-32 * (1 + 1e-9)
    near = np.arange(max(kept_below - 5, 0), min(kept_below + 5, 2**32)) - 2**31
    words = np.resize(near, 12).astype(np.int32).view(np.int64)
    monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.tensor(words))
    mask = keep_mask(torch.ones(10), keep_prob)[: len(near)]
    assert mask.tolist() == (near + 2**31 < kept_below).tolist()


def test_a_tensor_of_probabilities_gives_each_row_its_own():
    keep_prob = torch.tensor([[0.2], [0.9]])
    mask = keep_mask(torch.ones(2, N), keep_prob)
    for kept, p in zip(mask.double().mean(dim=1), (0.2, 0.9), strict=True):
        assert is_near(kept, p, np.sqrt(p * (1 - p)), N)


@pytest.mark.parametrize("x", [torch.ones(3, dtype=torch.int64), torch.ones(3).bool(), 1j])
def test_an_input_that_is_not_floating_point_is_a_type_error(x):
    with pytest.raises(TypeError, match="x must have a floating-point dtype, got torch"):
        keep_mask(torch.as_tensor(x), 0.5)
