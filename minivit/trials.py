"""Tries an attention module on a few tokens: what names and shapes do not tell, its output does."""

import copy

import torch
from torch import nn

from minivit.runtime import in_eval_mode, stream


@torch.no_grad()
@torch.autocast("cpu", enabled=False)
def what_differs(module, layer):
    """Says how the module differs from softmax attention on six tokens, in words; None: it doesn't.

    layer: the AttentionLayer that it is taken for. Both are run in float32 on the CPU, with weights
    drawn here: under a proj of zeros, as some begin, every layout of the weights gives the same.
    Tokens are given in three arrangements, of which a module may take one only.
    """
    if any(buffer.is_meta for buffer in module.buffers()):
        return None  # nothing is known of what it holds besides its weights
    dim, generator = len(layer.proj), stream(0, "six tokens")

    def drawn(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")

    weights = {
        "qkv.weight": drawn(3 * dim, dim) / dim**0.5,
        "qkv.bias": None if layer.qkv_bias is None else drawn(3 * dim),
        "proj.weight": drawn(dim, dim) / dim**0.5,
        "proj.bias": None if layer.proj_bias is None else drawn(dim),
    }
    fields = ("qkv", "qkv_bias", "proj", "proj_bias")
    known = layer._replace(**dict(zip(fields, weights.values(), strict=True)))
    held = {**weights, **_on_cpu(dict(module.named_buffers()))}
    held = {f"module.{name}": tensor for name, tensor in held.items() if tensor is not None}
    x = drawn(1, 6, dim)
    whole = known.forward(x)
    windows = known.forward(x.view(2, 3, dim)).view(1, 6, dim)
    failures, has_answered = [], False
    module = _twin(module)
    with in_eval_mode(module):
        for given, back, expected in (
            (x, lambda y: y, (whole,)),
            (x.view(1, 2, 3, dim), lambda y: y.flatten(1, 2), (whole, windows)),  # rows, columns
            (x.mT.reshape(1, dim, 2, 3), lambda y: y.flatten(2).mT, (whole,)),  # channels first
        ):
            try:
                found = torch.func.functional_call(_Bare(module), held, (given,))
                if not torch.is_tensor(found):
                    failures.append(f"it gives a {type(found).__name__}, not a tensor")
                    continue
                found = back(found).float()
            except Exception as error:  # another arrangement is wanted, or more than tokens
                failures.append(f"{type(error).__name__}: {error}")
                continue
            has_answered = True
            if any(_is_near(found, each) for each in expected):
                return None
    if has_answered:
        return "gives other tokens than softmax attention with its weights"
    return f"could not be tried on six tokens ({failures[0]})"


def _twin(module):
    """A copy without hooks: what an attention keeps of the tokens, and who listens, stay its own.

    The module itself where it holds what can't be copied.
    """
    try:
        twin = copy.deepcopy(module)
    except Exception:
        return module
    for each in twin.modules():
        each._forward_hooks.clear()
        each._forward_pre_hooks.clear()
    return twin


class _Bare(nn.Module):
    """A module without its own hooks, which functional_call would call."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, tokens):
        return self.module.forward(tokens)


def _on_cpu(tensors):
    moved = {name: each.detach().cpu().clone() for name, each in tensors.items()}  # it may count
    return {n: each.float() if each.is_floating_point() else each for n, each in moved.items()}


def _is_near(found, expected):
    return found.shape == expected.shape and (found - expected).norm() <= 1e-3 * expected.norm()
