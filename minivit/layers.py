"""Finds the attention layers of a model: minivit's, timm's or torchvision's.

What is not known for certain is refused by name: the products that this package reads and writes
mean what they are said to mean in one kind of attention only.
"""

import inspect
from typing import NamedTuple

from torch import Tensor, nn

# What modules call the maps that minivit's attention holds in one, qkv.
SEPARATE = {"q", "k", "v", "qk", "kv", "query", "key", "value", "q_proj", "k_proj", "v_proj"}
SEPARATE |= {"to_q", "to_k", "to_v", "to_kv", "to_qkv", "to_out"}


class AttentionLayer(NamedTuple):
    """One attention layer's own tensors, not copies: writing into them changes the model.

    qkv: (3 · dim, dim), rows W_Qᵀ, W_Kᵀ, W_Vᵀ, head after head. proj: (dim, dim), W_projᵀ.
    A bias that the module does not have is None.
    """

    name: str
    qkv: Tensor
    proj: Tensor
    heads: int
    qkv_bias: Tensor | None
    proj_bias: Tensor | None


def attention_layers(model) -> list[AttentionLayer]:
    """Returns the attention layers of a model, in order.

    Known are nn.MultiheadAttention (torchvision's ViT) and any module that has `qkv`, `proj` and
    `num_heads` and no other parameters (minivit's and timm's ViT). Raises ValueError for a model
    without attention and, with its name, for attention of another kind: what this package says of
    W_Q W_Kᵀ would not hold there.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"a model is expected, an nn.Module, and not {type(model).__name__}")
    layers, seen = [], ()
    for name, module in model.named_modules():
        if seen and name.startswith(seen):
            continue
        if isinstance(module, nn.MultiheadAttention) or hasattr(module, "qkv"):
            layers.append(_read_layer(name, module))
            seen = (*seen, f"{name}.")
        elif _looks_like_attention(module):
            raise _unknown(name, module, "is an attention that minivit does not know")
    if not layers:
        raise ValueError(f"{type(model).__name__} has no attention layer")
    return layers


def _looks_like_attention(module):
    own = type(module).__name__.lower()
    children = [type(child).__name__.lower() for child in list(module.modules())[1:]]
    parts = SEPARATE.intersection(name for name, _ in module.named_children())
    is_named = "attention" in own or own.endswith("attn")
    return (
        (is_named or len(parts) > 1)
        and any(True for _ in module.parameters())
        and not any("attention" in child or child.endswith("attn") for child in children)
    )


def _read_layer(name, module):
    reason = _why_unknown(module)
    if reason:
        raise _unknown(name, module, reason)
    if isinstance(module, nn.MultiheadAttention):
        qkv, qkv_bias, proj = module.in_proj_weight, module.in_proj_bias, module.out_proj
    else:
        qkv, qkv_bias, proj = module.qkv.weight, module.qkv.bias, module.proj
    return AttentionLayer(name, qkv, proj.weight, module.num_heads, qkv_bias, proj.bias)


def _unknown(name, module, reason):
    return ValueError(
        f"{name!r} ({type(module).__name__}) {reason}; if it weighs tokens by W_Q W_Kᵀ all the "
        "same, give its weights to mimetic_attention_(qkv, proj, heads) yourself"
    )


def _why_unknown(module):
    """Says what makes the module compute another map than Attention's, or None."""
    if isinstance(module, nn.MultiheadAttention):
        if module.in_proj_weight is None:
            return "has keys or values of another width than its queries"
        if module.bias_k is not None or module.add_zero_attn:
            return "appends biases or zeros to its keys and values"
        return None
    # Channel attention has the same parameters, and does not weigh tokens with them.
    if any(kind in type(module).__name__.lower() for kind in ("channel", "cross")):
        return "does not mix the tokens of one sequence"
    linear = all(isinstance(getattr(module, part, None), nn.Linear) for part in ("qkv", "proj"))
    if not (linear and hasattr(module, "num_heads")):
        return "has qkv, but not also linear maps qkv and proj and a number num_heads"
    rows, dim = module.qkv.weight.shape
    if rows != 3 * dim or tuple(module.proj.weight.shape) != (dim, dim):
        return (
            f"maps {dim} numbers to {rows} and back to {module.proj.out_features}, not to as many"
        )
    parts = {*module.qkv.parameters(), *module.proj.parameters()}
    if set(module.parameters()) - parts:
        return "has parameters besides qkv and proj"
    changed = [p for p in ("q_norm", "k_norm", "norm") if not _is_identity(module, p)]
    if changed:
        return f"normalises inside ({', '.join(changed)})"
    if "rope" in inspect.signature(module.forward).parameters:
        return "rotates queries and keys (rotary positions)"
    return None


def _is_identity(module, part):
    return isinstance(getattr(module, part, None), nn.Identity | None)
