"""The moments of max(0, z), z Gaussian, with their derivatives in closed form: an optimisation.

The derivatives of `lib.layers.moments.relu_moments` could be left to autograd. In closed form
forward and backward take two fifths of the time, and at variance 0 nothing is lost. Derivatives of
any order are taken backwards. Forward mode (``torch.func.jvp``, and with it ``torch.func.hessian``)
is an error of torch, whose second derivatives in that mode are wrong for such a function.
"""

import math

import torch


class ReluMoments(torch.autograd.Function):
    r"""The moments E and V of max(0, z), with their derivatives in closed form.

    For Gaussian z, d/dmean E[f(z)] = E[f'(z)] and d/dvariance E[f(z)] = E[f''(z)] / 2. So, with
    a = mean / s, Phi the probability that z > 0, and h = phi(a) / (2 s),

        dE / dmean = Phi             dE / dvariance = h
        dV / dmean = 2 E (1 - Phi)   dV / dvariance = Phi - 2 E h .
    """

    generate_vmap_rule = True

    @staticmethod
    def slopes(mean, variance):
        """Return s, a, Phi(a) and phi(a)."""
        # The floor and the clamp keep what is multiplied by zero from being infinite.
        std = variance.clamp(min=math.sqrt(torch.finfo(variance.dtype).tiny)).sqrt_()
        a = (mean / std).clamp(-30, 30)
        active = torch.erfc(a * -math.sqrt(0.5)).mul_(0.5)  # P(z > 0)
        density = a.square().mul_(-0.5).sub_(math.log(2 * math.pi) / 2).exp_()
        return std, a, active, density

    @staticmethod
    def forward(mean, variance):
        std, a, active, density = ReluMoments.slopes(mean, variance)
        above = torch.addcmul(density, a, active)  # E[max(0, z)] / s
        below = above - a  # E[max(0, -z)] / s
        relu_mean = torch.addcmul(mean * active, std, density)
        relu_variance = torch.addcmul(active, above, below, value=-1).clamp(min=0).mul_(variance)
        return relu_mean, relu_variance, active, density.div_(std).mul_(0.5)

    @staticmethod
    def setup_context(ctx, inputs, output):
        relu_mean, _, active, h = output
        ctx.mark_non_differentiable(active, h)
        ctx.save_for_backward(*inputs, relu_mean, active, h)

    @staticmethod
    def backward(ctx, by_mean, by_variance, *_):
        mean, variance, relu_mean, active, h = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative may be asked for
            std, _, active, density = ReluMoments.slopes(mean, variance)
            h = density / (2 * std)
        pull = 2 * by_variance * relu_mean
        by_active = by_mean - pull
        to_mean = torch.addcmul(pull, by_active, active)
        return to_mean, torch.addcmul(by_variance * active, by_active, h)
