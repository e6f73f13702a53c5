"""Dropout in a GRU: one mask a sequence, shared by all its steps, and the other places for it."""

import torch
from torch import nn
from torch.nn.functional import linear

from ..validation import OneOf, declared
from .sequences import SETTINGS, RecurrentDropout


@declared(**SETTINGS, recurrent=OneOf("state", "update", "weights"))
class RecurrentDropoutGRU(RecurrentDropout):
    r"""GRU with masks on its inputs and in its recurrence, by default the same at every step.

    With :math:`m^x, m^h` the masks divided by their keep probabilities, and all products but
    those with W and U entry by entry:

    .. math::

        (r', z', n') &= W (m^x x_t) + b , \qquad
        (r'', z'', n'') = U (m^h h_{t-1}) + b' , \\
        n &= \tanh \big( n' + \sigma(r' + r'') \, n'' \big) , \qquad z = \sigma(z' + z'') , \\
        h_t &= (1 - z) \, n + z \, h_{t-1} .

    The memory :math:`z \, h_{t-1}` has no mask: with one, it would fade at every step. In eval
    there are no masks, and it is ``torch.nn.GRU`` without dropout.

    Parameters
    ----------
    input_size, hidden_size, keep_prob, recurrent_keep_prob, between_keep_prob, masks
        As for `RecurrentDropoutLSTM`.
    recurrent : {"state", "update", "weights"}
        What the recurrent mask multiplies: the state :math:`h_{t-1}` where U reads it, as above;
        the update n; or the matrix U, with one mask for all steps and all sequences of a call.
    num_layers, bias, batch_first, bidirectional, device, dtype
        As for ``torch.nn.GRU``.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, ... : torch.nn.Parameter
        W (3 hidden, input), U (3 hidden, hidden), b and b' (3 hidden,), gates in the order r, z, n:
        names, shapes and first values are those of ``torch.nn.GRU``.

    Shape
    -----
    As for `RecurrentDropoutLSTM`, but for the state, which is one tensor h.

    References
    ----------
    Gal and Ghahramani (2016), *A theoretically grounded application of dropout in recurrent neural
    networks*, section 4. "update": Semeniuta et al. (2016), *Recurrent dropout without memory
    loss*, section 3. "weights": Merity et al. (2018), *Regularizing and optimizing LSTM language
    models*.

    Examples
    --------
    >>> layer = RecurrentDropoutGRU(3, 4, keep_prob=0.5)
    >>> output, h = layer(torch.ones(10, 2, 3))
    >>> output.shape, h.shape
    (torch.Size([10, 2, 4]), torch.Size([1, 2, 4]))
    >>> nn.GRU(3, 4).load_state_dict(layer.state_dict())
    <All keys matched successfully>
    """

    torchs, parts, without_masks = nn.GRU, ("h",), staticmethod(torch.gru)

    def _step(self, from_input, state, U, b, m):
        (h,) = state  # (batch, hidden)
        place = None if m is None else self.recurrent
        from_state = linear(h * m if place == "state" else h, U, b)
        r_x, z_x, n_x = from_input.chunk(3, dim=-1)
        r_h, z_h, n_h = from_state.chunk(3, dim=-1)
        update = torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h)
        if place == "update":
            update = update * m
        z = torch.sigmoid(z_x + z_h)
        return [(1 - z) * update + z * h]
