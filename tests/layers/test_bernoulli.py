"""What holds for dropout of units, beyond what holds for every layer."""

import pytest
import torch
from chance import few_examples, keep_probs
from hypothesis import given
from hypothesis import strategies as st
from layer_runs import DTYPES, under_seed

from lib.layers import Dropout
from lib.layers.draw import keep_mask


@few_examples
@given(
    keep_prob=keep_probs,
    scaling=st.sampled_from(["inverted", "weight"]),
    dtype=st.sampled_from(DTYPES),
)
def test_kept_units_are_divided_by_keep_prob_if_inverted_and_the_others_are_zero(
    keep_prob, scaling, dtype
):
    x = torch.linspace(-3, 3, 500).to(dtype)
    mask = under_seed(lambda x: keep_mask(x, keep_prob), x).double()
    y = under_seed(Dropout(keep_prob, scaling), x)
    expected = (x.double() * mask / (keep_prob if scaling == "inverted" else 1)).to(dtype)
    assert y.dtype == dtype
    torch.testing.assert_close(y, expected, rtol=2 * torch.finfo(dtype).eps, atol=0)


NOT_CONTIGUOUS = {
    "transposed": torch.randn(6, 10).t(),
    "every other": torch.randn(6, 10)[:, ::2],
    "expanded": torch.randn(6, 1).expand(6, 10),
    "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
}


@pytest.mark.parametrize("x", NOT_CONTIGUOUS.values(), ids=NOT_CONTIGUOUS)
def test_the_layout_in_memory_makes_no_difference(x):
    layer = Dropout(0.5)
    assert torch.equal(under_seed(layer, x), under_seed(layer, x.contiguous()))
