"""Optimisations of the recurrent layers: they compute what the formulas do, in fewer operations."""

import torch
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.nn.functional import linear


def may_be_fused(x, autocast=False):
    """Whether nothing looks into the layer that needs its formula."""
    kind = x.device.type
    is_traced = torch.compiler.is_compiling() or torch.jit.is_tracing() or get_proxy_mode()
    is_transformed = torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
    is_cast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return not (is_traced or is_transformed or (is_cast and not autocast))


def by_torch(function, rows, sizes, weights, state):
    """A layer in which nothing is masked, by ``torch.lstm`` or ``torch.gru``.

    Weights come by direction. Rows, sizes and state are those of `lib.layers.sequences`.
    """
    flat = [each for direction in weights for each in direction if each is not None]
    state = state if len(state) > 1 else state[0]
    has_bias, directions = weights[0][2] is not None, len(weights)
    # What torch calls `train` is what makes gradients possible on a graphics card.
    settings = (has_bias, 1, 0.0, torch.is_grad_enabled(), directions == 2)
    if sizes[0] == sizes[-1]:
        in_time = rows.view(len(sizes), sizes[0], rows.shape[1])
        output, *end = function(in_time, state, flat, *settings, False)
        return output.flatten(0, 1), end
    output, *end = function(rows, torch.tensor(sizes, device="cpu"), state, flat, *settings)
    return output, end


class MaskedLSTM(torch.autograd.Function):
    r"""All steps of an LSTM with masks in its recurrence, and its derivative by hand.

    With dy the derivatives of the loss by the outputs, dz those by the pre-activations of a step,
    and all products but the one with U entry by entry, going backward in time,

    .. math::

        dh_t &= dy_t + m^h (U^T dz_{t+1}) , \qquad
        dc_t = m^c \sigma(f_{t+1}) \, dc_{t+1} + \sigma(o) \tanh'(c_t) \, dh_t , \\
        dz_t &= \big( \sigma'(i) \, m^g \tanh(g) \, dc_t, \; \sigma'(f) \, m^c c_{t-1} \, dc_t, \;
                \sigma(i) \, m^g \tanh'(g) \, dc_t, \; \sigma'(o) \tanh(c_t) \, dh_t \big) .

    One of the masks is there, that of `place`. What multiplies dc and dh does not depend on them,
    and is computed for all steps at once; so are the derivatives by W, U and b.
    """

    @staticmethod
    def forward(ctx, formula, place, x, W, U, b, h0, c0, mask):
        """x is (time, batch, input); returns all h, and the last h and c."""
        n, by_U = U.shape[1], U.t()
        gates = linear(x, W, b)  # (time, batch, 4 hidden)
        h, c, tanh_g, tanh_c, masked = (gates.new_empty(*x.shape[:2], n) for _ in range(5))
        i, f, g, o = gates.chunk(4, dim=-1)
        h_t, c_t = h0, c0
        read, written = (gates[..., : 2 * n], i, f, g, o), (h, c, tanh_g, tanh_c, masked)
        steps = _step_by_step(mask, gates, *read, *written)
        for m, z, i_and_f, i_t, f_t, g_t, o_t, to_h, to_c, to_tanh_g, to_tanh_c, to_masked in steps:
            if place == "state":
                h_t = torch.mul(h_t, m, out=to_masked)
            z.addmm_(h_t, by_U)
            i_and_f.sigmoid_()
            g_t = torch.tanh(g_t.contiguous(), out=to_tanh_g)  # faster than where it lies
            o_t.sigmoid_()
            if place == "update":
                g_t = torch.mul(g_t, m, out=to_masked)
            if place == "cell":
                c_t = torch.mul(c_t, m, out=to_masked)
            c_t = torch.mul(f_t, c_t, out=to_c).addcmul_(i_t, g_t)
            h_t = torch.mul(o_t, torch.tanh(c_t, out=to_tanh_c), out=to_h)
        ctx.formula, ctx.place = formula, place
        ctx.save_for_backward(x, W, U, b, h0, c0, mask, gates, h, c, tanh_g, tanh_c, masked)
        return h.clone(), h_t.clone(), c_t.clone()

    @staticmethod
    def backward(ctx, dy, dh, dc):
        *inputs, mask, gates, h, c, g, tanh_c, masked = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative may be asked for
            return None, None, *_through(ctx.formula, inputs, mask, (dy, dh, dc)), None
        x, W, U, b, h0, c0 = inputs
        i, f, _, o = gates.chunk(4, dim=-1)
        h_read = masked if ctx.place == "state" else torch.cat([h0[None], h[:-1]])
        g_read, c_read = g, torch.cat([c0[None], c[:-1]])
        g_slope, c_kept = i * (1 - g * g), f
        if ctx.place == "update":
            g_read, g_slope = masked, g_slope * mask
        if ctx.place == "cell":
            c_read, c_kept = masked, c_kept * mask
        slopes = (i * (1 - i) * g_read, f * (1 - f) * c_read, g_slope, o * (1 - o) * tanh_c)
        dz = torch.empty_like(gates)
        m_after = dh.new_ones(1, 1)
        steps = _step_by_step(
            mask, dz, dy, torch.cat(slopes, dim=-1), o * (1 - tanh_c * tanh_c), c_kept
        )
        for m, dz_t, dy_t, slope, by_dh, kept in reversed(steps):
            dh = torch.addcmul(dy_t, dh, m_after)
            dc = torch.addcmul(dc, dh, by_dh)
            torch.cat([dc, dc, dc, dh], dim=1, out=dz_t).mul_(slope)
            dh, dc = dz_t @ U, dc * kept
            m_after = m if ctx.place == "state" else m_after
        rows = dz.flatten(0, 1)
        dW, dU = (rows.t() @ read.flatten(0, 1) for read in (x, h_read))
        dx = dz @ W if ctx.needs_input_grad[2] else None
        db = None if b is None else rows.sum(dim=0)
        return None, None, dx, dW, dU, db, dh * m_after, dc, None


def _step_by_step(mask, *parts):
    """The mask and the parts of each step, in a list."""
    masks = mask.unbind() * (len(parts[0]) // len(mask))
    return list(zip(masks, *(part.unbind() for part in parts), strict=True))


def _through(formula, inputs, mask, gradients):
    """Derivatives of a formula by its inputs, such that they can be derived again."""
    # Views keep the inputs apart, should one depend on another.
    given = [None if x is None else x.view_as(x) for x in inputs]
    wanted = [x for x in given if x is not None and x.requires_grad]
    found = torch.autograd.grad(formula(*given, mask), wanted, gradients, create_graph=True)
    found = iter(found)
    return [next(found) if x is not None and x.requires_grad else None for x in given]
