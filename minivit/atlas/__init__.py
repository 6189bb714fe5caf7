"""What was measured on real checkpoints, and extracts of them, so that a lesson works offline.

`read` takes the checkpoint where this machine has it, and else the atlas; `load` takes the atlas.
Both give the same `Reading`, which says where it comes from. The files beside this one were made
from the checkpoints by tools/atlas.py (`make atlas`); NOTICE.md has their sources and licences.
"""

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from minivit.catalog import CATALOG, find_here
from minivit.circuits import AttentionWeights, DiagonalStats, diagonal_stats, ov, qk, spectrum
from minivit.init import split_svd
from minivit.pretrained import read_attention
from minivit.runtime import one_thread
from minivit.storage import file_digest, read_tensors

FOLDER = Path(__file__).parent
FACTORS = ("W_Q", "W_K", "W_V", "W_O")
# What `measure` takes statistics of; "_gain" is with the LayerNorm's gain folded in.
PRODUCTS = ("qk", "ov_heads", "ov", "qk_gain", "ov_gain")


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """The attention of one checkpoint, as numbers and, where weights is not None, as weights.

    source: a few words for captions. live: read from the checkpoint itself just now. numbers: what
    `measure` returns, always of the checkpoint's own weights. weights: the checkpoint's where live;
    from the atlas their products are the checkpoint's to about 1 %, but the factors are those of an
    SVD, rounded to 8 bits. about: source, licence, digest and more, as JSON has it.
    """

    name: str
    source: str
    live: bool
    about: dict
    numbers: dict[str, Tensor] = field(repr=False)
    weights: AttentionWeights | None = field(repr=False)

    def stats(self, product: str) -> DiagonalStats:
        """Statistics of one of PRODUCTS: (layer, head) for qk, ov_heads and qk_gain, else (layer,).

        Raises ValueError for another name, and where there is no gain to fold in.
        """
        if f"{product}.mean" not in self.numbers:
            known = [name for name in PRODUCTS if f"{name}.mean" in self.numbers]
            raise ValueError(f"product is {product!r}; {self.name} has {known}")
        mean, spread, cosine = (
            self.numbers[f"{product}.{part}"] for part in ("mean", "spread", "cosine")
        )
        dim, rank = self.numbers["ov.spectrum"].shape[-1], self.numbers["qk.spectrum"].shape[-1]
        rank = dim if product in ("ov", "ov_gain") else rank
        ceiling = (rank / dim) ** 0.5
        return DiagonalStats(mean, spread, mean / spread, spread / dim**0.5, cosine, ceiling)


def read(name: str) -> Reading:
    """The checkpoint where $MINIVIT_DATA or the cache has it, measured now; else the atlas.

    Nothing is downloaded. Raises ValueError for a name not in the catalogue, for a file that is not
    what it should be, and where neither the file nor an entry of the atlas is there.
    """
    if name not in CATALOG:
        raise ValueError(f"{name!r} is not in the catalogue; it must be one of {list(CATALOG)}")
    path = find_here(CATALOG[name])
    if path is None:
        return load(name)
    about = _index()["entries"].get(name) or {"title": name, "source": CATALOG[name].source}
    weights = read_attention(path)
    return Reading(
        name=name,
        source=f"{about['title']}, from the checkpoint itself",
        live=True,
        about=about,
        numbers=measure(weights),
        weights=weights,
    )


def load(name: str) -> Reading:
    """The atlas's entry; ValueError where there is none, or where a file of it is not whole."""
    entries = _index()["entries"]
    if name not in entries:
        ways = f"put {CATALOG[name].file} into MINIVIT_DATA" if name in CATALOG else "no such name"
        raise ValueError(f"{name}: not in the atlas, which has {list(entries)} ({ways})")
    about = entries[name]
    tensors = {}
    for file, digest in about["files"].items():
        tensors |= _checked(FOLDER / file, digest)
    factors = {part: _unpack(tensors, part) for part in FACTORS if f"{part}.codes" in tensors}
    numbers = {
        name: t for name, t in tensors.items() if t.is_floating_point() and "scale" not in name
    }
    gain = numbers.get("norm_gain")
    rounded = ", products rounded to 8 bits" if factors else ""
    return Reading(
        name=name,
        source=f"{about['title']}, from minivit's atlas{rounded}",
        live=False,
        about=about,
        numbers=numbers,
        weights=AttentionWeights(**factors, norm_gain=gain) if factors else None,
    )


def measure(weights: AttentionWeights) -> dict[str, Tensor]:
    """Numbers that tell the products of a checkpoint, from its weights.

    For each of PRODUCTS "….mean", "….spread" and "….cosine" (circuits.DiagonalStats); "qk.spectrum"
    (layer, head, head_dim) and "ov.spectrum" (layer, dim), singular values that are divided by the
    product's Frobenius norm, and these norms; "columns.W_Q" and "columns.W_K" (layer, head,
    head_dim), the lengths of the factors' columns; "norm_gain". The gains are left out where the
    weights have none.
    """
    layers = [_measure_layer(weights, layer) for layer in range(len(weights.W_Q))]
    numbers = {name: torch.stack([each[name] for each in layers]) for name in layers[0]}
    if weights.norm_gain is not None:
        numbers["norm_gain"] = weights.norm_gain
    return numbers


def _measure_layer(weights, layer):
    """One layer at a time: all products of GPT-2 would be 700 MB."""
    own = _only(weights, layer)
    products = {"qk": qk(own)[0], "ov_heads": ov(own)[0]}
    products["ov"] = products["ov_heads"].sum(0)
    if own.norm_gain is not None:
        folded = own.folded()
        products |= {"qk_gain": qk(folded)[0], "ov_gain": ov(folded)[0].sum(0)}
    numbers = {}
    for name, product in products.items():
        stats = diagonal_stats(product)
        numbers |= {f"{name}.{part}": getattr(stats, part) for part in ("mean", "spread", "cosine")}
    values = {"qk": spectrum(own.W_Q, own.W_K.mT)[0], "ov": torch.linalg.svdvals(products["ov"])}
    for name, singular in values.items():
        norm = singular.norm(dim=-1)
        numbers |= {f"{name}.norm": norm, f"{name}.spectrum": singular / norm[..., None]}
    columns = {f"columns.{name}": getattr(own, name)[0].norm(dim=1) for name in ("W_Q", "W_K")}
    return numbers | columns


def _only(weights, layer):
    gain = weights.norm_gain
    return AttentionWeights(
        **{name: getattr(weights, name)[layer, None] for name in FACTORS},
        norm_gain=None if gain is None else gain[layer, None],
    )


def pack(weights: AttentionWeights) -> dict[str, Tensor]:
    """The products of all heads as int8: factors of their SVDs, each column with its own scale."""
    packed = {}
    for left, right, products in (("W_Q", "W_K", qk(weights)), ("W_V", "W_O", ov(weights))):
        rank = weights.head_dim
        with one_thread():
            pairs = [split_svd(product) for product in products.flatten(0, 1)]
        lefts = torch.stack([pair[0][:, :rank] for pair in pairs])  # (layer · head, dim, rank)
        rights = torch.stack([pair[1][:rank].T for pair in pairs])  # the same, transposed
        for name, factor in ((left, lefts), (right, rights)):
            factor = factor.unflatten(0, products.shape[:2])
            scale = factor.abs().amax(-2, keepdim=True) / 127  # (layer, head, 1, rank)
            codes = (factor / scale).round().to(torch.int8)
            packed |= {f"{name}.codes": codes, f"{name}.scale": scale}
    return packed


def _unpack(tensors, name):
    factor = tensors[f"{name}.codes"].float() * tensors[f"{name}.scale"]
    return factor.mT if name == "W_O" else factor


def _checked(path, digest):
    if not path.is_file():
        raise ValueError(f"{path}: this file of the atlas is missing; install minivit again")
    if file_digest(path) != digest:
        raise ValueError(
            f"{path}: its SHA-256 is {file_digest(path)}, and the atlas's index says {digest}; "
            "the file was changed or cut short: install minivit again"
        )
    return read_tensors(path)[0]


@functools.cache
def _index():
    return json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))
