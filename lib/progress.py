"""A progress bar that leaves nothing behind."""

from contextlib import contextmanager
from contextvars import ContextVar

try:
    from tqdm import tqdm
except ImportError:  # which the wheel installs only if it is asked to
    tqdm = None

_silent = ContextVar("silent", default=False)


@contextmanager
def silent():
    """Show no bars inside: for work that runs many at a time."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


def progress(iterable, description):
    """Loop over the same items, with a bar that shows how far the loop is, and the time left.

    The bar appears after two seconds, and clears itself at the end. The environment variable
    ``TQDM_DISABLE=1`` silences it: the tests and the build of the book set it. Without the package
    tqdm there is none.
    """
    if tqdm is None or _silent.get():
        return iterable
    return tqdm(iterable, desc=description, delay=2, leave=False)
