"""Topics of news stories: stands where Hinton et al. have a part of RCV1."""

from lib.datasets import load_reuters
from lib.experiments.experiment import Experiment, grid
from lib.experiments.recipes import KEEP_PROBS, at_best_epoch
from lib.networks import multilayer_perceptron
from lib.training import fit


def reuters_trial(seed, *, masks, epochs, hidden=(2000, 1000), n_words=2000):
    """Reuters-21578, Distribution 1.0; the seed also draws the validation stories."""
    data = load_reuters(n_val=1000, n_words=n_words, seed=seed)
    n_topics = int(data.y_train.max()) + 1
    model = multilayer_perceptron([n_words, *hidden, n_topics], **KEEP_PROBS[masks])
    history = fit(model, data, epochs=epochs, batch_size=128, learning_rate=1e-3)
    return {
        **at_best_epoch(history),
        "last_test_error": history.test_error[-1],
        "last_test_loss": history.test_loss[-1],
    }


REUTERS = Experiment(
    name="reuters",
    title="Topics of Reuters-21578 stories: no masks, hidden units masked, input masked too",
    paper="Hinton et al. (2012), on a part of RCV1",
    configurations=grid(masks=list(KEEP_PROBS), epochs=15),
    metrics=(
        *("test_error", "test_loss", "val_loss", "best_epoch"),
        *("last_test_error", "last_test_loss"),
    ),
    trial=reuters_trial,
    smallest={"epochs": 6, "hidden": (100, 100), "n_words": 500},
)
