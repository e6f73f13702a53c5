"""A progress bar that leaves nothing behind."""

from contextlib import contextmanager
from contextvars import ContextVar

from tqdm import tqdm

_silent = ContextVar("silent", default=False)


@contextmanager
def silent():
    """Show no bars inside: for work that runs many at a time."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


def progress(iterable, description, total=None):
    """Show how far a long loop is, and the time left.

    The bar appears after two seconds, and clears itself at the end. The environment variable
    ``TQDM_DISABLE=1`` silences it: the tests and the build of the book set it.

    Parameters
    ----------
    iterable : iterable
        What to loop over.
    description : str
        A word or two before the bar.
    total : int, optional
        Number of items, where the iterable does not know it.

    Returns
    -------
    iterable
        The same items.
    """
    if _silent.get():
        return iterable
    return tqdm(iterable, desc=description, total=total, delay=2, leave=False)
