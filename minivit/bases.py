"""Bases: how every layer of a network starts before attention gets an initializer of its own.

A comparison of attention initializers must be made on one base: the base alone moves the result.
Both work in place on minivit's, timm's and torchvision's ViT and return the model; `generator` is a
CPU torch.Generator (None: torch's global one), so that one seed gives the same numbers everywhere.
"""

import math

import torch
from torch import nn

from minivit.layers import attention_layers, is_sharded
from minivit.model import ViT, initial_positions
from minivit.schedule import OF_NO_LAYER, POSITION_TABLES

# What a base sets of a layer; any other parameter there is one that it knows nothing of.
PARTS = {
    nn.MultiheadAttention: {"in_proj_weight", "in_proj_bias"},
    nn.Linear | nn.Conv2d | nn.LayerNorm: {"weight", "bias"},
}


def torch_default_(model, *, generator=None):
    """Base: every layer as PyTorch's own constructor sets it, but attention biases at zero.

    Linear and convolution: uniform within ±1/√fan_in, weight and bias; nn.MultiheadAttention:
    Xavier. Positions and class token, for which PyTorch has no default, as in `vit_trunc_normal_`.
    Raises ValueError for a parameter that is none of these, before anything is written.
    """
    layers = attention_layers(model)
    _set_every_layer_(model, _torch_linear_, generator)
    with torch.no_grad():
        for layer in layers:
            for bias in (layer.qkv_bias, layer.proj_bias):
                if bias is not None:
                    bias.zero_()
    return model


def vit_trunc_normal_(model, *, generator=None):
    """Base: every layer as timm's VisionTransformer sets it (`init_weights_vit_timm`).

    Linear: normal of standard deviation 0.02, zero bias; positions 0.02, class token 1e-6; the
    patch convolution as PyTorch leaves it. A sin-cos table starts as that table. Raises ValueError
    for a parameter that is none of these, before anything is written.
    """
    return _set_every_layer_(model, _timm_linear_, generator)


@torch.no_grad()
def _set_every_layer_(model, linear_, generator):
    _check_generator(generator)
    if any(parameter.is_meta for parameter in model.parameters()):
        raise ValueError("weights on the meta device hold no numbers; use model.to_empty")
    for name, module in model.named_modules():
        _check_known(name, module)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.MultiheadAttention):
            linear_(module, generator)
        elif isinstance(module, nn.Conv2d):
            _torch_linear_(module, generator)
        elif isinstance(module, nn.LayerNorm):
            module.reset_parameters()  # gain 1, bias 0: nothing is drawn
        else:
            for part, parameter in module.named_parameters(recurse=False):
                _set_embedding_(part, module, parameter, generator)
        if isinstance(module, ViT) and module.config.positions == "sincos":
            module.pos_embed.copy_(_table(module.config))  # no parameter, and to_empty takes it
    return model


def _check_known(name, module):
    if isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is None:
        raise ValueError(f"{name!r} has keys or values of another width than its queries")
    known = next((names for kind, names in PARTS.items() if isinstance(module, kind)), OF_NO_LAYER)
    for part, parameter in module.named_parameters(recurse=False):
        whole = f"{name}.{part}".strip(".")
        # A pruned layer has weight_orig, one with an adapter lora_A, and both are a Linear.
        if part not in known:
            raise ValueError(
                f"no base knows how to start the parameter {whole!r} {tuple(parameter.shape)}"
            )
        if is_sharded(parameter):
            raise ValueError(f"{whole!r} is sharded (DTensor); initialize before fully_shard")


def _torch_linear_(module, generator):
    if isinstance(module, nn.MultiheadAttention):  # its out_proj is a Linear of its own
        weight = module.in_proj_weight
        bound = math.sqrt(6 / sum(weight.shape))
        return weight.copy_(uniform(*weight.shape, bound=bound, generator=generator))
    bound = 1 / math.sqrt(module.weight[0].numel())  # 1/√fan_in
    for parameter in module.parameters(recurse=False):
        parameter.copy_(uniform(*parameter.shape, bound=bound, generator=generator))


def _timm_linear_(module, generator):
    is_fused = isinstance(module, nn.MultiheadAttention)
    weight, bias = (
        (module.in_proj_weight, module.in_proj_bias) if is_fused else (module.weight, module.bias)
    )
    weight.copy_(0.02 * normal(*weight.shape, generator=generator))
    if bias is not None:
        bias.zero_()


def _set_embedding_(part, module, parameter, generator):
    if isinstance(module, ViT) and part in POSITION_TABLES and module.config.positions != "learned":
        parameter.copy_(_table(module.config))
    else:
        std = 0.02 if part in POSITION_TABLES else 1e-6
        parameter.copy_(std * normal(*parameter.shape, generator=generator))


def _table(config):
    with torch.device("cpu"):  # whatever the default device is
        return initial_positions(config)


BASES = {"torch_default": torch_default_, "vit_trunc_normal": vit_trunc_normal_}
DRAWN = {"dtype": torch.float32, "device": "cpu"}  # whatever torch's defaults are set to


def normal(*shape, generator=None):
    """Standard normal numbers, float32 on the CPU. ValueError for a generator elsewhere."""
    _check_generator(generator)
    return torch.randn(shape, generator=generator, **DRAWN)


def uniform(*shape, bound, generator=None):
    """Numbers uniform within ±bound, float32 on the CPU."""
    return (2 * torch.rand(shape, generator=generator, **DRAWN) - 1) * bound


def _check_generator(generator):
    if generator is None:
        return
    if not isinstance(generator, torch.Generator):
        raise ValueError(
            f"generator is {generator!r}; for a seed give torch.Generator().manual_seed(seed)"
        )
    if generator.device.type != "cpu":
        raise ValueError(
            f"the generator is on {generator.device}; noise is drawn on the CPU, so that one seed "
            "gives the same network everywhere: use torch.Generator()"
        )
