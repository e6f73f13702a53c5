"""A progress bar that leaves nothing behind."""

from tqdm import tqdm


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
    return tqdm(iterable, desc=description, total=total, delay=2, leave=False)
