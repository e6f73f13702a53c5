"""Real data for the book.

Scikit-learn's digits need no download. The other sets are looked for in the folder that the
environment variable ``DROPOUT_DATA_DIR`` names, then in the user's cache, and are else downloaded
into the cache. Where one cannot be had, it is a FileNotFoundError; where a file does not have the
content that it should, an OSError.
"""

from lib.datasets.digits import load_digits
from lib.datasets.images import load_fashion_mnist, load_mnist
from lib.datasets.reuters import load_reuters, reuters_topics
from lib.datasets.speech import SPEAKERS, SpokenDigits, load_spoken_digits
from lib.datasets.splits import Split, autoencoding
from lib.datasets.text import CHARACTERS, Text, load_reuters_text
from lib.datasets.uci import UCI_NAMES, UciSettings, load_uci, uci_settings

__all__ = [
    "CHARACTERS",
    "SPEAKERS",
    "UCI_NAMES",
    "Split",
    "SpokenDigits",
    "Text",
    "UciSettings",
    "autoencoding",
    "load_digits",
    "load_fashion_mnist",
    "load_mnist",
    "load_reuters",
    "load_reuters_text",
    "load_spoken_digits",
    "load_uci",
    "reuters_topics",
    "uci_settings",
]
