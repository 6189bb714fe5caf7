"""Published weights that minivit knows by name, and how their files are found or fetched.

A file with a known digest is never used unchecked. `pretrained.py` reads them.
"""

import os
import socket
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from minivit.archives import cache_dir, certificates
from minivit.model import VIT_BASE, VIT_TINY, ViTConfig
from minivit.storage import atomic_path, file_digest


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Shorter side to `resize` pixels, centre `crop`, values to 0…1, then (x − mean) / std."""

    resize: int
    interpolation: str
    crop: int = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __call__(
        self, images: UInt8[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 3 crop crop"]:
        """What the model was trained to be given, from images of any one size."""
        # Rounded as torchvision's transforms round.
        size = [self.resize * side // min(images.shape[2:]) for side in images.shape[2:]]
        pixels = images.float() / 255
        pixels = F.interpolate(pixels, size, mode=self.interpolation, antialias=True)
        top, left = (round((side - self.crop) / 2) for side in size)
        pixels = pixels[:, :, top : top + self.crop, left : left + self.crop].clamp(0, 1)
        mean, std = (
            torch.tensor(each, device=pixels.device)[:, None, None]
            for each in (self.mean, self.std)
        )
        return (pixels - mean) / std


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One entry of the catalogue.

    file: its name in $MINIVIT_DATA or the cache. digest: its SHA-256, or the beginning of it that
    is published; None where none is known. Where there is no such file it comes from `url`, or
    else it is model.safetensors of `hub`, a repository on the Hugging Face hub, which is not that
    file byte by byte and whose digest is not known here. config: None for what is no ViT.
    """

    name: str
    file: str
    digest: str | None
    url: str | None = None
    hub: str | None = None
    config: ViTConfig | None
    preprocessing: Preprocessing | None
    licence: str
    source: str


_TORCHVISION = {
    "preprocessing": Preprocessing(resize=256, interpolation="bilinear"),
    "licence": "BSD-3-Clause, as torchvision; ImageNet's terms may apply",
    "source": "torchvision, IMAGENET1K_V1 (trained on ImageNet-1k alone)",
}
_ENTRIES = (
    Checkpoint(
        name="vit_b_16",
        file="vit_b_16-c867db91.pth",
        digest="c867db91",
        url="https://download.pytorch.org/models/vit_b_16-c867db91.pth",
        config=VIT_BASE,
        **_TORCHVISION,
    ),
    Checkpoint(
        name="vit_b_32",
        file="vit_b_32-d86f8d99.pth",
        digest="d86f8d99",
        url="https://download.pytorch.org/models/vit_b_32-d86f8d99.pth",
        config=replace(VIT_BASE, patch_size=32),
        **_TORCHVISION,
    ),
    Checkpoint(
        name="deit_tiny_patch16_224",
        file="deit_tiny_patch16_224.safetensors",
        digest="b2e17235172c1dcddacb55aa8914e2f8b4b95eb9bb7d7782f333bcbef77151b8",
        hub="timm/deit_tiny_patch16_224.fb_in1k",
        config=VIT_TINY,
        preprocessing=Preprocessing(resize=248, interpolation="bicubic"),
        licence="Apache-2.0",
        source="DeiT-Tiny (arXiv 2012.12877), ImageNet-1k; LayerNorms rounded to 2^-5 … 2^-7 "
        "(github.com/wvfunc/matlab-bit_true-deit_tiny-fix)",
    ),
    Checkpoint(
        name="vit_tiny_patch16_224",
        file="vit_tiny_patch16_224.augreg_in21k_ft_in1k.safetensors",
        digest=None,
        hub="timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k",
        config=VIT_TINY,
        preprocessing=Preprocessing(
            resize=248, interpolation="bicubic", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
        ),
        licence="Apache-2.0",
        source="ViT-Tiny (AugReg, arXiv 2106.10270), ImageNet-21k, then ImageNet-1k",
    ),
    Checkpoint(
        name="gpt2",
        file="gpt2_small_attention_fp16.safetensors",
        digest="f6c5b36dba9cfa511d719bdef76453205608ffbc1f0f6f8f30981689bf9d5135",
        hub="openai-community/gpt2",
        config=None,
        preprocessing=None,
        licence="modified MIT, as openai/gpt-2",
        source="GPT-2 small, attention alone, rounded to float16 (github.com/huplay/GPT2-SMALL)",
    ),
)
CATALOG = {entry.name: entry for entry in _ENTRIES}


def find(entry):
    """Returns (path, source) of the entry's file: $MINIVIT_DATA, the cache, or else the network.

    Where $MINIVIT_SOURCE is "synthetic" the network is not asked. Raises ValueError for a file of
    another digest, or where nothing can be had.
    """
    path = find_here(entry)
    return (path, entry.source) if path else _fetch(entry, cache_dir() / entry.file)


def find_here(entry):
    """The path of the entry's file in $MINIVIT_DATA or the cache, or None: nothing is fetched.

    Raises ValueError for a file of another digest in $MINIVIT_DATA; one in the cache is warned of.
    """
    given = Path(os.environ.get("MINIVIT_DATA") or ".").expanduser() / entry.file
    if os.environ.get("MINIVIT_DATA") and given.is_file():
        check_digest(given, entry)
        return given
    kept = cache_dir() / entry.file
    if kept.is_file():
        try:
            check_digest(kept, entry)
            return kept
        except ValueError as error:
            warnings.warn(f"the cache is damaged: {error}", stacklevel=4)
    return None


def known_by_digest(path):
    """The entry whose file this is, by its content; None for any other file."""
    digest = file_digest(path)
    return next((e for e in CATALOG.values() if e.digest and digest.startswith(e.digest)), None)


class DigestError(ValueError):
    """A file is not the one that the catalog knows by this name."""


def check_digest(path, entry):
    """Raises DigestError, with both digests, where the file is not the entry's."""
    found = file_digest(path)
    if entry.digest and not found.startswith(entry.digest):
        raise DigestError(
            f"{path}: its SHA-256 is {found}, that of {entry.name} is {entry.digest}"
            f"{'' if len(entry.digest) == 64 else '…'}; it is cut short, changed or another file. "
            "Delete it, or give its path instead of the name to read it as it is"
        )


def _fetch(entry, target):
    try:
        if os.environ.get("MINIVIT_SOURCE") == "synthetic":
            raise OSError("MINIVIT_SOURCE is synthetic")
        if entry.hub:
            from huggingface_hub import hf_hub_download

            path = Path(hf_hub_download(entry.hub, "model.safetensors"))
            return path, f"huggingface.co/{entry.hub}"
        _download(entry, target)
    except DigestError:  # the file is there, and another one: no way around it helps
        raise
    except Exception as error:  # the hub's errors change with its version and its HTTP library
        raise ValueError(_ways_out(entry, error)) from error
    return target, entry.source


def _download(entry, target):
    timeout = socket.getdefaulttimeout()
    # Without one, a network that swallows packets would hang the download for minutes.
    socket.setdefaulttimeout(20.0)
    try:
        with atomic_path(target) as temporary:
            torch.hub.download_url_to_file(entry.url, str(temporary))
            check_digest(temporary, entry)
    finally:
        socket.setdefaulttimeout(timeout)


def _ways_out(entry, error):
    ways = [f"put {entry.file} into a folder and set MINIVIT_DATA to that folder"]
    if entry.hub:
        place = f"https://huggingface.co/{entry.hub}"
        ways += [f"download model.safetensors from {place} and give its path instead of the name"]
    else:
        ways[0] = f"download {entry.url}, {ways[0]}"
    if isinstance(error, ImportError):
        ways += ["pip install huggingface_hub, which downloads it"]
    ways = "; ".join(f"({n}) {way}" for n, way in enumerate(ways, 1))
    return (
        f"{entry.name}: {entry.file} is neither in MINIVIT_DATA "
        f"({os.environ.get('MINIVIT_DATA') or 'not set'}) nor in {cache_dir()}, and can't be "
        f"fetched ({type(error).__name__}: {error}). {certificates(error)}Ways out: {ways}"
    )
