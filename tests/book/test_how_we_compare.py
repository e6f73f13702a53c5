"""Numbers in the words of the page "How we compare" are those of its table."""

import pytest
from repository import ROOT, markdown_of

from lib.experiments import at_best, read_results, select

TEXT = markdown_of(ROOT / "book" / "reproductions" / "how-we-compare.ipynb")
TABLE = read_results("digits-compared")
ENDED, STOPPED = select(TABLE, cap=300), select(TABLE, cap=5)


def chosen(masked, by):
    return select(at_best(ENDED, ["rate"], by), masked=masked)


@pytest.mark.parametrize(
    "words",
    [
        f"one table of {len(TABLE)} trained networks",
        f"all pairs of the {ENDED.groupby(['masked', 'rate']).ngroups} configurations",
        f"rate 0.01, and {STOPPED['epochs'].max():.0f} epochs, five rounds of nine",
        f"with {597 * chosen('none', 'val_error')['test_error'].mean():.0f} of 597 digits wrong",
        f"at its best rate, {chosen('both layers', 'val_error')['rate'].iloc[0]}.",
        f"at its best here at {chosen('both layers', 'val_error')['rate'].iloc[0]}, "
        f"and the network without masks at {chosen('none', 'val_error')['rate'].iloc[0]}.",
    ],
)
def test_numbers_in_words_are_those_of_the_table(words):
    assert words in TEXT


def test_what_is_trained_to_its_end_ends_before_its_cap_and_the_rest_does_not():
    assert ENDED["finished"].eq(1).all()
    assert STOPPED["finished"].eq(0).all()
    assert TABLE.groupby(["masked", "cap", "rate"])["seed"].nunique().eq(10).all()
