"""Dropout in an LSTM: one mask a sequence, shared by all its steps, and the other places for it."""

import torch
from torch import nn
from torch.nn.functional import linear

from ..validation import OneOf, declared
from .fused import MaskedLSTM, may_be_fused
from .sequences import SETTINGS, RecurrentDropout


@declared(**SETTINGS, recurrent=OneOf("state", "update", "cell", "weights"))
class RecurrentDropoutLSTM(RecurrentDropout):
    r"""LSTM with masks on its inputs and in its recurrence, by default the same at every step.

    With :math:`m^x, m^h` the masks divided by their keep probabilities, and all products but
    those with W and U entry by entry:

    .. math::

        (i, f, g, o) &= W (m^x x_t) + U (m^h h_{t-1}) + b , \\
        c_t &= \sigma(f) \, c_{t-1} + \sigma(i) \tanh(g) , \qquad h_t = \sigma(o) \tanh(c_t) .

    In eval there are no masks, and it is ``torch.nn.LSTM`` without dropout, at its speed. The input
    of a layer above the first is masked in the same way, with a probability of its own.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of a step, and units.
    keep_prob : float
        Probability to KEEP a feature of the input, in (0, 1].
    recurrent_keep_prob : float, optional
        Probability to KEEP what the recurrent mask multiplies, in (0, 1]; `keep_prob` if not given.
    between_keep_prob : float, optional
        Probability to KEEP what a layer reads from the layer below, in (0, 1]; `keep_prob` if not
        given. With one layer it must not be given. The two directions of a layer read the same.
    masks : {"sequence", "step"}
        Whether a sequence keeps its masks, or each of its steps draws new ones.
    recurrent : {"state", "update", "cell", "weights"}
        What the recurrent mask multiplies: the state :math:`h_{t-1}`, as above; the update
        :math:`\tanh(g)`; the memory :math:`c_{t-1}`; or the matrix U, with one mask for all steps
        and all sequences of a call, whatever `masks` says.
    num_layers, bias, batch_first, bidirectional, device, dtype
        As for ``torch.nn.LSTM``.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, ... : torch.nn.Parameter
        W (4 hidden, input), U (4 hidden, hidden) and the parts of b (4 hidden,), gates in the order
        i, f, g, o: names, shapes and first values are those of ``torch.nn.LSTM``.

    Shape
    -----
    As for ``torch.nn.LSTM``: input (time, batch, input), or (time, input) for one sequence, with at
    least one step, or a packed sequence; optional state (h, c), each (layers, batch, hidden) or
    (layers, hidden), where each direction counts as a layer. It returns the outputs
    (time, batch, hidden) and the last state. Other shapes are a ValueError, a dtype that is not
    floating-point a TypeError. Each sequence of a batch has masks of its own. A second call draws
    new ones, also where it continues a sequence from its state.

    References
    ----------
    Gal and Ghahramani (2016), *A theoretically grounded application of dropout in recurrent neural
    networks*, section 4, with one mask for the four gates. "update": Semeniuta et al. (2016),
    *Recurrent dropout without memory loss*. "weights": Merity et al. (2018), *Regularizing and
    optimizing LSTM language models*.

    Examples
    --------
    >>> layer = RecurrentDropoutLSTM(3, 4, keep_prob=0.5)
    >>> output, (h, c) = layer(torch.ones(10, 2, 3))
    >>> output.shape, h.shape
    (torch.Size([10, 2, 4]), torch.Size([1, 2, 4]))
    >>> nn.LSTM(3, 4).load_state_dict(layer.state_dict())
    <All keys matched successfully>
    """

    torchs, parts, without_masks = nn.LSTM, ("h", "c"), staticmethod(torch.lstm)

    def _step(self, from_input, state, U, b, m):
        """One step of one direction; from_input is W (m^x x_t) and its part of b."""
        h, c = state  # (batch, hidden) each
        place = None if m is None else self.recurrent
        gates = from_input + linear(h * m if place == "state" else h, U, b)
        i, f, g, o = gates.chunk(4, dim=-1)
        update = torch.sigmoid(i) * torch.tanh(g)
        if place == "update":
            update = update * m
        if place == "cell":
            c = c * m
        c = torch.sigmoid(f) * c + update
        return torch.sigmoid(o) * torch.tanh(c), c

    def _run(self, rows, sizes, weights, state, mask, reverse):
        W, U, b_ih, b_hh = weights
        b = None if b_ih is None else b_ih + b_hh
        if mask is None or sizes[0] != sizes[-1] or not may_be_fused(rows):
            return super()._run(rows, sizes, (W, U, b, None), state, mask, reverse)
        return self._run_fused(rows, sizes, W, U, b, state, mask, reverse)

    def _run_fused(self, rows, sizes, W, U, b, state, mask, reverse):
        """An optimisation for sequences of one length: the same, with `MaskedLSTM`."""
        steps_and_batch, run = (len(sizes), sizes[0]), super()._run

        def formula(x, W, U, b, h, c, mask):
            output, end = run(x.flatten(0, 1), sizes, (W, U, b, None), (h, c), mask, reverse=False)
            return output.unflatten(0, steps_and_batch), *end

        x = rows.unflatten(0, steps_and_batch)
        if reverse:
            x, mask = x.flip(0), mask.flip(0)
        output, *end = MaskedLSTM.apply(formula, self.recurrent, x, W, U, b, *state, mask)
        return (output.flip(0) if reverse else output).flatten(0, 1), end
