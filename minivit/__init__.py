"""minivit: a small Vision Transformer, mimetic initialization, and the course that proves it.

`import minivit` does no work and loads nothing beyond torch: data, figures and pretrained weights
bring in their libraries when they are used.
"""

from minivit.augment import Augment
from minivit.bases import torch_default_, vit_trunc_normal_
from minivit.circuits import (
    AttentionWeights,
    attention_maps,
    diagonal_stats,
    ov,
    position_gram,
    qk,
    spectrum,
)
from minivit.data import ImageSet, cifar10
from minivit.init import (
    Mimetic,
    initialize_,
    mimetic_,
    mimetic_attention_,
    norm_matched_,
    rotated_,
)
from minivit.layers import attention_layers
from minivit.model import (
    VIT_BASE,
    VIT_SMALL,
    VIT_TINY,
    ViT,
    ViTConfig,
    sincos_positions,
)
from minivit.pretrained import load_pretrained
from minivit.saving import load_model, save_model
from minivit.train import TrainConfig, evaluate, train

__version__ = "0.1.0"

__all__ = [
    "VIT_BASE",
    "VIT_SMALL",
    "VIT_TINY",
    "AttentionWeights",
    "Augment",
    "ImageSet",
    "Mimetic",
    "TrainConfig",
    "ViT",
    "ViTConfig",
    "attention_layers",
    "attention_maps",
    "cifar10",
    "diagonal_stats",
    "evaluate",
    "initialize_",
    "load_model",
    "load_pretrained",
    "mimetic_",
    "mimetic_attention_",
    "norm_matched_",
    "ov",
    "position_gram",
    "qk",
    "rotated_",
    "save_model",
    "sincos_positions",
    "spectrum",
    "torch_default_",
    "train",
    "vit_trunc_normal_",
]
