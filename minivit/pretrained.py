"""Pretrained weights: where they come from, and how their names and shapes become minivit's.

Read from top to bottom: the catalogue, the two functions that read it, then finding a file, reading
it safely, and renaming what is in it. No code inside a file is ever run.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from minivit.archives import cache_dir
from minivit.circuits import AttentionWeights
from minivit.model import VIT_BASE, VIT_TINY, ViT, ViTConfig, load_model
from minivit.storage import DIGEST_KEY, file_digest, read_safetensors, read_tensors

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PUBLISHED_HEADS = {192: 3, 384: 6, 768: 12, 1024: 16}  # ViT-Tiny to ViT-Large: 64 wide, all of them


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What a model was trained to see: the shorter side resized, the centre cut out (pixels)."""

    resize: int = 248
    crop: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "bicubic"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One entry of the catalogue.

    source: an address, or a repository on the Hugging Face hub. file: its name in $MINIVIT_DATA and
    in the cache. digest: the beginning of its SHA-256 as published; empty where none is published.
    """

    source: str
    file: str
    digest: str = ""
    heads: int
    preprocessing: Preprocessing | None
    licence: str


def _torchvision(file):
    return Checkpoint(
        source=f"https://download.pytorch.org/models/{file}",
        file=file,
        digest=file.partition("-")[2].removesuffix(".pth"),
        heads=VIT_BASE.heads,
        preprocessing=Preprocessing(resize=256, interpolation="bilinear"),
        licence="BSD-3-Clause (torchvision)",
    )


def _timm(name, variant, mean=IMAGENET_MEAN, std=IMAGENET_STD):
    return Checkpoint(
        source=f"timm/{name}.{variant}",
        file=f"{name}.safetensors",
        heads=VIT_TINY.heads,
        preprocessing=Preprocessing(mean=mean, std=std),
        licence="Apache-2.0",
    )


_HALF = (0.5, 0.5, 0.5)
CATALOG = {
    "vit_b_16": _torchvision("vit_b_16-c867db91.pth"),
    "vit_b_32": _torchvision("vit_b_32-d86f8d99.pth"),
    "deit_tiny_patch16_224": _timm("deit_tiny_patch16_224", "fb_in1k"),
    "vit_tiny_patch16_224": _timm("vit_tiny_patch16_224", "augreg_in21k_ft_in1k", _HALF, _HALF),
    "gpt2": Checkpoint(
        source="openai-community/gpt2",
        file="gpt2_small_attention_fp16.safetensors",
        heads=12,
        preprocessing=None,
        licence="modified MIT (openai/gpt-2)",
    ),
}

# torchvision's name → timm's, which are minivit's; {} is the number of the layer.
FROM_TORCHVISION = {
    "class_token": "cls_token",
    "conv_proj.{p}": "patch_embed.proj.{p}",
    "encoder.pos_embedding": "pos_embed",
    "encoder.layers.encoder_layer_{n}.ln_1.{p}": "blocks.{n}.norm1.{p}",
    "encoder.layers.encoder_layer_{n}.self_attention.in_proj_{p}": "blocks.{n}.attn.qkv.{p}",
    "encoder.layers.encoder_layer_{n}.self_attention.out_proj.{p}": "blocks.{n}.attn.proj.{p}",
    "encoder.layers.encoder_layer_{n}.ln_2.{p}": "blocks.{n}.norm2.{p}",
    "encoder.layers.encoder_layer_{n}.mlp.0.{p}": "blocks.{n}.mlp.fc1.{p}",
    "encoder.layers.encoder_layer_{n}.mlp.3.{p}": "blocks.{n}.mlp.fc2.{p}",
    "encoder.ln.{p}": "norm.{p}",
    "heads.head.{p}": "head.{p}",
}


def load_pretrained(name_or_path, *, heads=None) -> ViT:
    """Returns a ViT in eval mode on the CPU, with `.preprocessing` (None where it is not known).

    name_or_path: a name in CATALOG, looked for in $MINIVIT_DATA and in the cache, then downloaded;
    or a file of minivit's, timm's or torchvision's naming. heads: needed for a file whose width is
    not one of the published ViTs' (their heads are 64 wide; shapes do not tell). Raises ValueError
    for a file that is damaged, of another digest, or of another model.
    """
    entry = CATALOG.get(str(name_or_path))
    path = find(name_or_path) if entry else Path(name_or_path).expanduser()
    model = _own(path)
    if model is None:
        tensors = rename(read_file(path))
        config = infer_config(tensors, heads or (entry and entry.heads), path)
        model = ViT(config)
        _load(model, tensors, path)
    model.preprocessing = entry and entry.preprocessing
    return model.eval()


def read_attention(name_or_path) -> AttentionWeights:
    """The attention of a ViT, as `load_pretrained` reads it, or of GPT-2, which is no ViT."""
    entry = CATALOG.get(str(name_or_path))
    path = find(name_or_path) if entry else Path(name_or_path).expanduser()
    if path.suffix == ".safetensors" and DIGEST_KEY in read_safetensors(path)[1]:
        return AttentionWeights.of(load_pretrained(path))
    tensors = {name.removeprefix("transformer."): t for name, t in read_file(path).items()}
    for layout in (_GPT2_SPLIT, _GPT2_FUSED):
        if layout["norm"].format(0) in tensors:
            return _read_gpt2(tensors, layout, path)
    return AttentionWeights.of(load_pretrained(name_or_path))


def find(name):
    """The file of a catalogue entry: in $MINIVIT_DATA, in the cache, or downloaded into it."""
    entry = CATALOG[name]
    for folder in (os.environ.get("MINIVIT_DATA"), cache_dir()):
        path = Path(folder or ".").expanduser() / entry.file
        if folder and path.is_file():
            return _check_digest(path, entry)
    try:
        return _download(entry, cache_dir() / entry.file)
    except Exception as error:  # hubs and sockets fail in many ways
        raise ValueError(
            f"{name} can't be had ({type(error).__name__}: {error}); fetch {entry.source} yourself "
            f"and put it as {entry.file} into a folder that MINIVIT_DATA names"
        ) from error


def _download(entry, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    if entry.source.startswith("http"):  # written to a temporary name, checked, then renamed
        torch.hub.download_url_to_file(entry.source, str(path), entry.digest, progress=False)
        return path
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(entry.source, "model.safetensors"))


def _check_digest(path, entry):
    if not file_digest(path).startswith(entry.digest):
        found = file_digest(path)[: len(entry.digest)]
        raise ValueError(f"{path}: its SHA-256 begins {found}, not {entry.digest}; fetch it again")
    return path


def read_file(path):
    """name → tensor of a .safetensors or .pth file; ValueError where damaged, or code inside."""
    if not path.is_file():
        names = ", ".join(CATALOG)
        raise ValueError(f"{path}: no such file, and not a name in the catalogue ({names})")
    if path.suffix == ".safetensors":
        return read_safetensors(path)[0]
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickles fail in many ways; weights_only runs none of their code
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path}: cut short, or not a file of tensors alone; nothing in it was run ({reason})"
        ) from error
    tensors = tensors.get("model", tensors) if isinstance(tensors, dict) else tensors
    if not isinstance(tensors, dict) or not all(torch.is_tensor(t) for t in tensors.values()):
        raise ValueError(f"{path}: holds no dictionary of name → tensor")
    return tensors


def rename(tensors):
    """torchvision's names as timm's; all other names stay."""
    layers, parts = range(len(tensors)), ("weight", "bias")
    names = {
        old.format(n=n, p=p): new.format(n=n, p=p)
        for old, new in FROM_TORCHVISION.items()
        for n in layers
        for p in parts
    }
    return {names.get(name, name): tensor for name, tensor in tensors.items()}


def infer_config(tensors, heads, path):
    """The ViTConfig that these shapes belong to; ValueError where they are no ViT's."""
    try:
        dim, channels, patch_size, _ = tensors["patch_embed.proj.weight"].shape
        tokens, hidden = tensors["pos_embed"].shape[1], len(tensors["blocks.0.mlp.fc1.weight"])
        classes = len(tensors["head.weight"])
    except (KeyError, ValueError, IndexError) as error:
        raise ValueError(
            f"{path}: not a ViT in timm's or torchvision's naming ({error})"
        ) from error
    heads = heads or PUBLISHED_HEADS.get(dim)
    if heads is None:
        raise ValueError(f"{path}: width {dim} does not tell the number of heads; give heads=…")
    pool = "cls" if "cls_token" in tensors else "mean"
    return ViTConfig(
        image_size=math.isqrt(tokens - (pool == "cls")) * patch_size,
        patch_size=patch_size,
        channels=channels,
        classes=classes,
        dim=dim,
        depth=len({name.split(".")[1] for name in tensors if name.startswith("blocks.")}),
        heads=heads,
        mlp_ratio=hidden / dim,
        pool=pool,
        qkv_bias="blocks.0.attn.qkv.bias" in tensors,
    )


def _load(model, tensors, path):
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{path}: does not fit a plain ViT of its sizes: {error}") from error


def _own(path):
    """A file of save_model's or a checkpoint of train()'s, with its digest; else None."""
    if path.suffix != ".safetensors" or DIGEST_KEY not in read_safetensors(path)[1]:
        return None
    tensors, metadata = read_tensors(path)
    if "config" in metadata:
        return load_model(path)
    sizes = {k: v for k, v in metadata.get("run", {}).items() if k.startswith("model.")}
    if not sizes:
        raise ValueError(f"{path}: holds neither a model nor a checkpoint of a training")
    model = ViT(ViTConfig(**{name.removeprefix("model."): value for name, value in sizes.items()}))
    start = "model/"
    weights = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
    _load(model, weights, path)
    return model


# GPT-2's weights are (in, out), for x @ W. Hugging Face's files fuse three of the four.
_GPT2_SPLIT = {"norm": "h.{}.att.norm.w", "parts": "query key value", "proj": "h.{}.att.proj.w"}
_GPT2_FUSED = {"norm": "h.{}.ln_1.weight", "parts": "", "proj": "h.{}.attn.c_proj.weight"}


def _read_gpt2(tensors, layout, path):
    layers = sum(name.endswith(layout["proj"].partition("{}.")[2]) for name in tensors)
    try:
        split = [_gpt2_layer(tensors, layout, n) for n in range(layers)]
        gain = torch.stack([tensors[layout["norm"].format(n)].float() for n in range(layers)])
        W_Q, W_K, W_V, W_O = (torch.stack(parts) for parts in zip(*split, strict=True))
    except (KeyError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path}: not GPT-2's attention as expected ({error})") from error
    return AttentionWeights(W_Q=W_Q, W_K=W_K, W_V=W_V, W_O=W_O, norm_gain=gain)


def _gpt2_layer(tensors, layout, n):
    if layout["parts"]:
        parts = [tensors[f"h.{n}.att.{part}.w"] for part in layout["parts"].split()]
    else:
        parts = tensors[f"h.{n}.attn.c_attn.weight"].chunk(3, dim=1)
    proj = tensors[layout["proj"].format(n)].float()
    heads = len(proj) // 64  # in every size of GPT-2
    W_Q, W_K, W_V = (part.float().unflatten(1, (heads, -1)).transpose(0, 1) for part in parts)
    return W_Q, W_K, W_V, proj.unflatten(0, (heads, -1))
