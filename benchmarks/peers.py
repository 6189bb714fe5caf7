"""ViTs of other libraries, as close to a ViTConfig as each allows; imported when asked for."""

from minivit.model import Attention, ViT

NOTES = (
    "timm computes the same function with the same parameters (`class_token=False, "
    'global_pool="avg", fc_norm=False`).',
    "vit-pytorch differs: LayerNorm before and after the patch projection, no bias in qkv, a "
    "written-out softmax instead of `scaled_dot_product_attention`.",
    "torchvision's ViT always has a class token, so 65 tokens instead of 64.",
)


class WrittenOut(Attention):
    """minivit's attention with the softmax as products of matrices, as vit-pytorch has it."""

    def forward(self, x):
        qkv = self.qkv(x).unflatten(2, (3, self.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        scores = query * query.shape[-1] ** -0.5 @ key.transpose(2, 3)
        return self.proj((scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2))


def written_out(config):
    """minivit's ViT without `scaled_dot_product_attention`."""
    model = ViT(config)
    for block in model.blocks:
        block.attn.__class__ = WrittenOut
    return model


def timm_vit(config):
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=config.image_size,
        patch_size=config.patch_size,
        num_classes=config.classes,
        embed_dim=config.dim,
        depth=config.depth,
        num_heads=config.heads,
        mlp_ratio=config.mlp_ratio,
        class_token=False,
        global_pool="avg",
        fc_norm=False,
    )


def vit_pytorch_vit(config):
    from vit_pytorch import ViT as Theirs

    return Theirs(
        image_size=config.image_size,
        patch_size=config.patch_size,
        num_classes=config.classes,
        dim=config.dim,
        depth=config.depth,
        heads=config.heads,
        dim_head=config.head_dim,
        mlp_dim=config.hidden,
        pool="mean",
    )


def torchvision_vit(config):
    from torchvision.models import VisionTransformer

    return VisionTransformer(
        image_size=config.image_size,
        patch_size=config.patch_size,
        num_classes=config.classes,
        hidden_dim=config.dim,
        num_layers=config.depth,
        num_heads=config.heads,
        mlp_dim=config.hidden,
    )


MODELS = {
    "minivit": ViT,
    "timm": timm_vit,
    "vit-pytorch": vit_pytorch_vit,
    "torchvision": torchvision_vit,
}


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())
