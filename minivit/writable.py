"""Whether the weights of an attention layer can be written: asked before an initializer draws."""

from itertools import combinations
from numbers import Integral

import torch
from torch import nn

from minivit.layers import is_sharded


def check_layer(qkv, proj, heads, name=""):
    """Raises ValueError for what is no layer as `init.mimetic_attention_` takes it.

    Also for weights in which what is written would be lost. name: what a message begins with.
    """
    parts = [*qkv, proj] if isinstance(qkv, tuple | list) else [qkv, proj]
    if not all(map(torch.is_tensor, parts)):
        kinds = " and ".join(type(part).__name__ for part in parts)
        raise ValueError(f"{name}qkv and proj are {kinds}, not tensors; a layer's is its .weight")
    dim, shapes = len(proj), [tuple(part.shape) for part in parts]
    if shapes not in ([(3 * dim, dim), (dim, dim)], 4 * [(dim, dim)]):
        found = f"qkv {', '.join(map(str, shapes[:-1]))} and proj {shapes[-1]}"
        raise ValueError(
            f"{name}{found}; expected (3 · dim, dim), or three (dim, dim), and (dim, dim): as many "
            "heads of key and value as of query, each dim / heads wide (where a layer stores "
            "x @ W, give weight.T)"
        )
    for part in parts:
        if part.is_meta:
            raise ValueError(f"{name}weights on the meta device hold no numbers: first to_empty")
        if is_sharded(part):
            raise ValueError(f"{name}weights are sharded (DTensor); initialize before fully_shard")
        if not part.is_floating_point():
            raise ValueError(f"{name}weights are {part.dtype}, not floating point")
        if part.is_inference():
            raise ValueError(f"{name}weights were made in inference mode: nothing may change them")
        if _whole(part).grad_fn is not None:  # of torch.cat, .to(…), a product
            raise ValueError(f"{name}a tensor computed from weights is given: it is none of them")
        if 0 in part.stride():
            raise ValueError(f"{name}rows of a weight are one in memory (expand); give its own")
    if any(_overlap(*pair) for pair in combinations(parts, 2)):
        raise ValueError(f"{name}one weight is given twice; what is written first would be lost")
    if len({isinstance(_whole(part), nn.Parameter) for part in parts}) > 1:
        raise ValueError(
            f"{name}some of these are parameters and some are not, so computed from others "
            "(weight_norm, pruning, torch.cat): what is written there would be lost; initialize "
            "before that is put on"
        )
    check_heads(heads, dim, name)


def _whole(tensor):
    """What a view is one of."""
    return tensor._base if tensor._is_view() else tensor


def _overlap(a, b):
    """Whether two contiguous tensors share a part of their memory."""
    if a.device != b.device or not (a.is_contiguous() and b.is_contiguous()):
        return a.data_ptr() == b.data_ptr()  # columns of one matrix interleave, and share nothing
    return a.data_ptr() < b.data_ptr() + b.nbytes and b.data_ptr() < a.data_ptr() + a.nbytes


def check_heads(heads, dim, name=""):
    """Raises ValueError for a number of heads that does not divide dim."""
    if isinstance(heads, bool) or not isinstance(heads, Integral) or heads < 1 or dim % heads:
        raise ValueError(f"{name}heads is {heads!r}; it must divide dim {dim}")
