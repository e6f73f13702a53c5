"""Topics of news stories: stands where Hinton et al. have a part of RCV1."""

from lib.datasets import load_reuters
from lib.experiments.experiment import grid
from lib.experiments.protocol import TRAINED_TO_END, Comparison, train_to_end
from lib.experiments.recipes import KEEP_PROBS, TrainedInBfloat16
from lib.networks import multilayer_perceptron


def reuters_trial(
    seed, *, masks, rate, hidden=(1000, 500), n_words=2000, n_val=1000, patience=10, cap=300
):
    """Reuters-21578, Distribution 1.0; the seed also draws the validation stories."""
    data = load_reuters(n_val=n_val, n_words=n_words, seed=seed)
    n_topics = int(data.y_train.max()) + 1
    model = multilayer_perceptron([n_words, *hidden, n_topics], **KEEP_PROBS[masks])
    how = {"rate": rate, "patience": patience, "cap": cap}
    return train_to_end(TrainedInBfloat16(model), data, **how)[0]


REUTERS = Comparison(
    name="reuters",
    title="Topics of Reuters-21578 stories: no masks, hidden units masked, input masked too",
    paper="Hinton et al. (2012), on a part of RCV1",
    configurations=grid(masks=list(KEEP_PROBS), rate=[0.03, 0.1, 0.3]),
    metrics=TRAINED_TO_END,
    trial=reuters_trial,
    smallest={"hidden": (100, 100), "n_words": 500, "patience": 3, "cap": 20},
    n_seeds=10,
    search_seeds=3,
)
