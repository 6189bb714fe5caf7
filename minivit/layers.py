"""Finds the attention layers of a model: minivit's, timm's or torchvision's.

What is not known for certain is refused by name: the products that this package reads and writes
mean what they are said to mean in one kind of attention only. Names and shapes do not tell which
kind a module is (nest's in timm has those of a plain ViT and orders heads in another way), so each
is tried on a few tokens as well.
"""

import inspect
import math
import re
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minivit.runtime import uncompiled
from minivit.trials import what_differs

# What modules call the maps that minivit's attention holds in one, qkv.
SEPARATE = re.compile(
    r"(w|to|linear)?_?(q|k|v|qk|kv|qkv|query|key|value|queries|keys|values)(_(proj|lin|linear))?"
    r"|(w|to_)?(o|out)(_proj)?",
    re.IGNORECASE,
)
YOURSELF = "to mimetic_attention_(qkv, proj, heads) or mimetic_attention_((q, k, v), proj, heads)"
COMPUTED = "computes its weights from others (weight_norm, pruning, …)"
# Arguments of forward by which positions come into the logits.
PLACES = re.compile(r"rope|rotary|pos(_|ition|$)|freqs|bias")


class AttentionLayer(NamedTuple):
    """One attention layer's own tensors, not copies: writing into them changes the model.

    qkv: (3 · dim, dim), rows W_Qᵀ, W_Kᵀ, W_Vᵀ, head after head. proj: (dim, dim), W_projᵀ.
    A bias that the module does not have is None. causal: a token sees itself and earlier ones only.
    """

    name: str
    qkv: Tensor
    proj: Tensor
    heads: int
    qkv_bias: Tensor | None
    proj_bias: Tensor | None
    causal: bool = False

    def forward(self, tokens):
        """What the layer makes of tokens (batch, token, dim), written out."""
        return self.mix(self.logits(tokens), tokens)

    def logits(self, tokens):
        """x W_Q W_Kᵀ xᵀ / √head_dim, biases included: (batch, head, token, token).

        −∞ where a causal layer does not look.
        """
        query, key, _ = self._parts(tokens)
        logits = query @ key.mT / math.sqrt(query.shape[-1])
        if not self.causal:
            return logits
        later = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).triu(1)
        return logits.masked_fill(later, -math.inf)

    def mix(self, logits, tokens):
        """softmax(logits) x W_V, all heads side by side, through W_proj."""
        mixed = logits.softmax(-1) @ self._parts(tokens)[2]
        return F.linear(mixed.transpose(1, 2).flatten(2), self.proj, self.proj_bias)

    def _parts(self, tokens):
        qkv = F.linear(tokens, self.qkv, self.qkv_bias).unflatten(2, (3, self.heads, -1))
        return qkv.permute(2, 0, 3, 1, 4)  # query, key and value: (batch, head, token, head_dim)


def attention_layers(model) -> list[AttentionLayer]:
    """Returns the attention layers of a model, in order.

    Known are nn.MultiheadAttention (torchvision's ViT), which is taken for self-attention, and any
    module that has `qkv`, `proj` and `num_heads`, no other parameters, and gives what softmax
    attention with these gives, causal or not (minivit's and timm's ViT); a copy of it is tried on
    six tokens. What is named quite differently is passed over: look at what is listed. Raises
    ValueError for a model without attention, for layers that share a weight, for sharded weights,
    and, with its name, for attention of another kind: what this package says of W_Q W_Kᵀ would not
    hold there.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"a model is expected, an nn.Module, and not {type(model).__name__}")
    layers, seen, crossing = [], (), set()
    for name, module in model.named_modules():
        module = uncompiled(module)
        if isinstance(module, nn.TransformerDecoderLayer):
            crossing.add(module.multihead_attn)
        if seen and name.startswith(seen):
            continue
        if module in crossing:
            raise _unknown(name, module, "attends to another sequence")
        if isinstance(module, nn.MultiheadAttention) or hasattr(module, "qkv"):
            layers.append(_read_layer(name, module))
            seen = (*seen, f"{name}." if name else "")  # of the model itself, all names begin so
        elif _looks_like_attention(module):
            raise _unknown(name, module, "is an attention that minivit does not know")
    if not layers:
        raise ValueError(
            f"{type(model).__name__} has no attention layer that minivit can see; of one that it "
            f"can't see, give the weights {YOURSELF}"
        )
    _check_not_shared(layers)
    return layers


@contextmanager
def listening(model, hooks):
    """Registers hooks for the block; a model that is compiled runs without that meanwhile.

    hooks: (register, function) for each, register a module's own method. What was compiled before
    a hook came would run without it, and say nothing.
    """
    handles = [register(function) for register, function in hooks]
    try:
        with torch.compiler.set_stance("force_eager"):
            yield model
    finally:
        for handle in handles:
            handle.remove()


def block_around(model, layer_name):
    """The module that holds an attention layer, its norms and its LayerScale."""
    return model.get_submodule(layer_name.rpartition(".")[0])


def branch_scale(model, layer):
    """The mean size of the LayerScale behind a layer, as timm has it; 1 where there is none."""
    block = block_around(model, layer.name)
    scales = (getattr(block, name, None) for name in ("ls1", "ls", "layer_scale_1", "layer_scale"))
    gamma = getattr(next((each for each in scales if each is not None), None), "gamma", None)
    return 1.0 if gamma is None else gamma.detach().abs().mean().item()


def norms_after(model, layer_name):
    """Whether the block around a layer normalises what attention gives, not what it takes.

    As nn.TransformerEncoderLayer does unless norm_first=True, and timm's ResPostBlock.
    """
    block = block_around(model, layer_name)
    return not getattr(block, "norm_first", True) or "PostBlock" in type(block).__name__


def is_sharded(tensor):
    """Whether it is a DTensor, as fully_shard leaves it; said without importing that."""
    return hasattr(tensor, "device_mesh")


def own_tokens(layer, module, arguments, keywords):
    """The tokens (batch, token, dim) that a layer's module is called with.

    Raises ValueError where it is told more than them: a mask, another sequence.
    """
    if not getattr(module, "batch_first", True):
        raise ValueError(f"{layer.name!r} takes tokens before the batch; give batch_first=True")
    signature = inspect.signature(uncompiled(module).forward)
    given = signature.bind_partial(*arguments, **keywords).arguments
    tokens = next(iter(given.values()))
    others = [given[name] for name in ("key", "value") if name in given]
    if not all(other is tokens or torch.equal(other, tokens) for other in others):
        raise ValueError(f"{layer.name!r} attends to another sequence, or to a changed one")
    masks = [n for n, v in given.items() if re.search("mask|causal|bias", n) and _is_set(v)]
    if masks:
        raise ValueError(f"{layer.name!r} is called with {', '.join(masks)}; only without is known")
    if tokens.dim() != 3:
        shape = tuple(tokens.shape)
        raise ValueError(f"{layer.name!r} is called with {shape}, not (batch, token, dim)")
    return tokens


def _is_set(value):
    return value is not None and value is not False


def _looks_like_attention(module):
    own = type(module).__name__.lower()
    children = [  # a child without weights, as a ScaledDotProductAttention, leaves them to this one
        type(child).__name__.lower()
        for child in list(module.modules())[1:]
        if any(True for _ in child.parameters())
    ]
    parts = [name for name, _ in module.named_children() if SEPARATE.fullmatch(name)]
    is_named = "attention" in own or own.endswith("attn")
    # Query, key, value and an MLP in one map, as in timm's parallel blocks.
    is_fused = hasattr(module, "in_proj") and hasattr(module, "num_heads")
    return (
        (is_named or is_fused or len(parts) > 1)
        and any(True for _ in module.parameters())
        and not any("attention" in child or child.endswith("attn") for child in children)
    )


def _read_layer(name, module):
    if any(map(is_sharded, module.parameters())):
        raise ValueError(
            f"{name!r} has sharded weights (DTensor); initialize or read it before fully_shard"
        )
    is_torchs = isinstance(module, nn.MultiheadAttention)
    reason = (_why_unknown_torchs if is_torchs else _why_unknown)(module)
    if reason:
        raise _unknown(name, module, reason)
    if is_torchs:
        qkv, qkv_bias, proj = module.in_proj_weight, module.in_proj_bias, module.out_proj
    else:
        qkv, qkv_bias, proj = module.qkv.weight, module.qkv.bias, module.proj
    layer = AttentionLayer(name, qkv, proj.weight, module.num_heads, qkv_bias, proj.bias)
    if is_torchs:
        return layer
    for tried in (layer, layer._replace(causal=True)):
        difference = what_differs(module, tried)
        if difference is None:
            return tried
    raise _unknown(name, module, difference)


def _unknown(name, module, reason):
    yours = f"if it weighs tokens by W_Q W_Kᵀ all the same, give its weights {YOURSELF}"
    if reason == COMPUTED:  # what is written into such a weight would be lost
        yours = "initialize before that is put on, or take it off meanwhile"
    return ValueError(f"{name!r} ({type(module).__name__}) {reason}; {yours}")


def _why_unknown_torchs(module):
    """Says what makes an nn.MultiheadAttention compute another map than Attention's, or None."""
    if type(module).forward is not nn.MultiheadAttention.forward:
        return "changes what nn.MultiheadAttention computes"
    if module.bias_k is not None or module.add_zero_attn:
        return "appends biases or zeros to its keys and values"
    if "in_proj_weight" in module._parameters and module.in_proj_weight is None:
        return "has keys or values of another width than its queries"
    return _why_not_own((module, "in_proj_weight"), (module.out_proj, "weight"))


def _why_unknown(module):
    """Says what makes the module compute another map than Attention's, or None."""
    # Channel attention has the same parameters, and does not weigh tokens with them.
    if any(kind in type(module).__name__.lower() for kind in ("channel", "cross")):
        return "does not mix the tokens of one sequence"
    linear = all(isinstance(getattr(module, part, None), nn.Linear) for part in ("qkv", "proj"))
    if not (linear and hasattr(module, "num_heads")):
        return "has qkv, but not also linear maps qkv and proj and a number num_heads"
    computed = _why_not_own((module.qkv, "weight"), (module.proj, "weight"))
    if computed:
        return computed
    rows, dim = module.qkv.weight.shape
    if rows != 3 * dim or tuple(module.proj.weight.shape) != (dim, dim):
        return (
            f"maps {dim} numbers to {rows} and back to {module.proj.out_features}, not to as many"
        )
    known = ("qkv.weight", "qkv.bias", "proj.weight", "proj.bias")
    others = [name for name, _ in module.named_parameters() if name not in known]
    if others:
        return f"has parameters besides qkv and proj ({', '.join(others[:4])})"
    changed = [p for p in ("q_norm", "k_norm", "norm") if not _is_identity(module, p)]
    if changed:
        return f"normalises inside ({', '.join(changed)})"
    places = [p for p in inspect.signature(module.forward).parameters if PLACES.search(p)]
    if places or getattr(module, "rope", None) is not None:
        return f"brings positions in by {', '.join(places) or 'rope'} (rotary, or a bias)"
    return None


def _why_not_own(*weights):
    """Writing into a weight that is computed from other parameters changes nothing."""
    computed = [name for holder, name in weights if name not in holder._parameters]
    return COMPUTED if computed else None


def _is_identity(module, part):
    return isinstance(getattr(module, part, None), nn.Identity | None)


def _check_not_shared(layers):
    owners = {}
    for layer in layers:
        for tensor in (layer.qkv, layer.proj):
            # Two parameters may lie in one memory; on meta there is none.
            place = id(tensor) if tensor.is_meta else (tensor.device, tensor.data_ptr())
            other = owners.setdefault(place, layer.name)
            if other != layer.name:
                raise ValueError(f"{other!r} and {layer.name!r} share a weight; each needs its own")
