"""Tries an attention module on a few tokens: what names and shapes do not tell, its output does."""

import torch
from torch import nn

from minivit.runtime import stream


@torch.no_grad()
@torch.autocast("cpu", enabled=False)
def gives_the_same(module, layer):
    """Whether the module gives what softmax attention gives, for six tokens in some arrangement.

    layer: the AttentionLayer that it is taken for. Both are run in float32 on the CPU, wherever and
    however the weights are kept: what half precision rounds away would hide a difference.
    """
    dim = len(layer.proj)
    if layer.proj.is_meta:
        return True
    held = _exact({**dict(module.named_parameters()), **dict(module.named_buffers())})
    held = {f"module.{name}": tensor for name, tensor in held.items()}
    exact = layer._replace(**_exact(layer._asdict()))
    x = torch.randn(1, 6, dim, generator=stream(0, "six tokens"), dtype=torch.float32, device="cpu")
    # Of a size at which attention is far from uniform, whatever the weights' own.
    spread = exact._replace(qkv_bias=None, causal=False).logits(x).std()
    x = x * spread.rsqrt().clamp(1e-3, 1e3)
    whole = exact.forward(x)
    windows = exact.forward(x.view(2, 3, dim)).view(1, 6, dim)
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        for given, back, expected in (
            (x, lambda y: y, (whole,)),
            (x.view(1, 2, 3, dim), lambda y: y.flatten(1, 2), (whole, windows)),  # rows, columns
            (x.mT.reshape(1, dim, 2, 3), lambda y: y.flatten(2).mT, (whole,)),  # channels first
        ):
            try:
                found = back(torch.func.functional_call(_Bare(module), held, (given,))).float()
            except Exception:  # it takes tokens in another arrangement, or more than tokens
                continue
            if any(_is_near(found, each) for each in expected):
                return True
    finally:
        for part, mode in modes:
            part.training = mode
    return False


class _Bare(nn.Module):
    """A module without its own hooks, which functional_call would call."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, tokens):
        return self.module.forward(tokens)


def _exact(entries):
    tensors = {name: each.cpu() for name, each in entries.items() if torch.is_tensor(each)}
    return {n: each.float() if each.is_floating_point() else each for n, each in tensors.items()}


def _is_near(found, expected):
    # A model with NaN in its weights is not unknown, it is broken: whoever reads it will see that.
    unknown = not expected.isfinite().all()
    same = found.shape == expected.shape
    return same and (unknown or (found - expected).norm() <= 1e-3 * expected.norm() + 1e-12)
