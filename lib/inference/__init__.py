"""What to do at prediction: sample masks, scale the weights once, measure batch norm anew."""

from lib.inference.batch_norm import batch_norm_reestimated
from lib.inference.held import masks_held
from lib.inference.monte_carlo import mc_samples
from lib.inference.sampling import sampling
from lib.inference.stochastic import stochastic_layers
from lib.inference.weight_scaling import weight_scaled

__all__ = [
    "batch_norm_reestimated",
    "masks_held",
    "mc_samples",
    "sampling",
    "stochastic_layers",
    "weight_scaled",
]
