"""Three ViTs that hold the same kind of attention: minivit's, timm's and torchvision's."""

import torch
from torch import nn

from minivit.model import ViT, ViTConfig

KINDS = ("minivit", "timm", "torchvision")


def tiny_vit(kind, *, dim=48, heads=3, depth=2, image_size=16, patch_size=8):
    """An untrained ViT of one of KINDS; class token and learned positions, so that all agree."""
    if kind == "minivit":
        return ViT(
            ViTConfig(
                image_size=image_size,
                patch_size=patch_size,
                dim=dim,
                depth=depth,
                heads=heads,
                pool="cls",
            )
        )
    if kind == "timm":
        from timm.models.vision_transformer import VisionTransformer

        return VisionTransformer(
            img_size=image_size,
            patch_size=patch_size,
            embed_dim=dim,
            depth=depth,
            num_heads=heads,
            num_classes=10,
        )
    from torchvision.models import VisionTransformer

    return VisionTransformer(
        image_size=image_size,
        patch_size=patch_size,
        num_layers=depth,
        num_heads=heads,
        hidden_dim=dim,
        mlp_dim=4 * dim,
        num_classes=10,
    )


def attention_modules(model):
    """The modules that compute attention, found by their names in the three libraries."""
    ends = (".attn", ".self_attention")
    return [module for name, module in model.named_modules() if name.endswith(ends)]


def run(attention, x):
    if isinstance(attention, nn.MultiheadAttention):
        return attention(x, x, x, need_weights=False)[0]
    return attention(x)


def ov_map(attention, dim):
    """W_V W_proj as the module computes it: alone in its sequence, a token attends to itself."""
    basis = torch.eye(dim, dtype=torch.float64)[:, None]  # dim sequences of one token
    with torch.no_grad():
        return (run(attention, basis) - run(attention, torch.zeros_like(basis)))[:, 0]


def qk_map(attention, dim, heads):
    """W_Q W_Kᵀ of each head as the module computes it, (head, dim, dim), from its softmax alone.

    In the sequence [e_i, e_j, 0] the token e_i gives e_j the weight exp(M_ij / √k) / (…) and 0
    the weight 1 / (…), so the logarithm of their ratio is M_ij / √k.
    """
    i, j = torch.meshgrid(torch.arange(dim), torch.arange(dim), indexing="ij")
    basis = torch.eye(dim, dtype=torch.float64)
    sequences = torch.stack([basis[i], basis[j], torch.zeros(dim, dim, dim).double()], dim=2)
    with torch.no_grad():
        weights = softmax_weights(attention, sequences.flatten(0, 1), heads)  # (pair, head, 3)
    ratio = (weights[..., 1] / weights[..., 2]).log() * (dim // heads) ** 0.5
    return ratio.T.unflatten(1, (dim, dim))


def softmax_weights(attention, sequences, heads):
    """What the first token gives to each of three tokens, (batch, head, 3)."""
    if isinstance(attention, nn.MultiheadAttention):
        return attention(sequences, sequences, sequences, average_attn_weights=False)[1][:, :, 0]
    mixed = heads_output(attention, sequences, heads)[:, :, 0]  # (batch, head, head_dim)
    values = heads_output(attention, sequences.flatten(0, 1)[:, None], heads)
    values = values[:, :, 0].unflatten(0, (-1, 3)).transpose(1, 2)  # (batch, head, 3, head_dim)
    # Weights sum to 1: mixed − v₂ = a₀ (v₀ − v₂) + a₁ (v₁ − v₂).
    apart = (values[:, :, :2] - values[:, :, 2:]).transpose(-1, -2)
    a = torch.linalg.lstsq(apart, (mixed - values[:, :, 2])[..., None], driver="gelsd").solution
    a = a[..., 0]
    return torch.cat([a, 1 - a.sum(-1, keepdim=True)], dim=-1)


def heads_output(attention, x, heads):
    """What goes into the projection, (batch, head, token, head_dim)."""
    seen = []
    hook = attention.proj.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    attention(x)
    hook.remove()
    return seen[0].unflatten(2, (heads, -1)).transpose(1, 2)
