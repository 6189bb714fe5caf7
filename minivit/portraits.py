"""What a training made of attention, in numbers that do not depend on the network's basis.

A portrait is measured at step 0 and after the last epoch; those of recorded runs ship with the
package. The LayerNorm's gain is folded into the weights first: then turning all tokens by one
rotation, which is what a change of basis is, leaves every number here as it was.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from minivit.atlas import measure
from minivit.circuits import AttentionWeights, ov, qk
from minivit.records import Record
from minivit.storage import read_tensors, write_tensors

FOLDER = Path(__file__).parent / "records" / "portraits"
_FACTORS = "columns."  # lengths of the factors' columns, which no product determines


@dataclass(frozen=True, kw_only=True)
class Portrait:
    """One run: its record, and its numbers at the start and at the end.

    start, end: as `numbers_of`. kept: "qk" (layer, head) and "ov" (layer,), the cosine of the
    product after training with the same network's product at step 0.
    """

    record: Record
    start: dict[str, Tensor] = field(repr=False)
    end: dict[str, Tensor] = field(repr=False)
    kept: dict[str, Tensor] = field(repr=False)


def numbers_of(weights: AttentionWeights) -> dict[str, Tensor]:
    """What `atlas.measure` says of the products, with the LayerNorm's gain folded in where known.

    "qk.mean" and "qk.cosine" (layer, head): β̂, the nearest multiple of I, and the cosine with I;
    "qk.spectrum" (layer, head, head_dim), of norm 1; "qk.norm"; "ov.…" for the sum over heads, one
    axis less; "ov_heads.…" for each head.
    """
    weights = weights if weights.norm_gain is None else weights.folded()
    found = measure(weights)
    return {name: tensor for name, tensor in found.items() if not name.startswith(_FACTORS)}


def portrait(record: Record, start: AttentionWeights, end: AttentionWeights) -> Portrait:
    """Measures one run.

    Raises ValueError where the weights are not of one shape, or a LayerNorm's gain is not known.
    """
    if start.W_Q.shape != end.W_Q.shape:
        raise ValueError(f"weights of {tuple(start.W_Q.shape)} and {tuple(end.W_Q.shape)}: one run")
    before, after = start.folded(), end.folded()
    kept = {
        "qk": cosine(qk(before), qk(after)),
        "ov": cosine(ov(before).sum(1), ov(after).sum(1)),
    }
    return Portrait(record=record, start=numbers_of(start), end=numbers_of(end), kept=kept)


def cosine(a: Float[Tensor, "*lead m n"], b: Float[Tensor, "*lead m n"]) -> Float[Tensor, "*lead"]:
    """The cosine between matrices, as vectors of all their entries."""
    return torch.cosine_similarity(a.flatten(-2), b.flatten(-2), dim=-1)


def write_portrait(portrait: Portrait, folder=FOLDER) -> Path:
    """Writes one file, with a digest, named after the record; returns its path."""
    path = Path(folder) / Path(portrait.record.filename).with_suffix(".safetensors")
    parts = {"start": portrait.start, "end": portrait.end, "kept": portrait.kept}
    tensors = {f"{part}/{name}": t for part, each in parts.items() for name, t in each.items()}
    write_tensors(path, tensors, {"record": asdict(portrait.record)})
    return path


def load_portraits(folder=FOLDER) -> list[Portrait]:
    """The portraits in `folder`, by arm and seed; an empty list where there are none.

    By default those that ship with the package, made by `python -m benchmarks.portraits`. Raises
    ValueError that names a file which is damaged or holds no portrait.
    """
    paths = sorted(Path(folder).glob("*.safetensors"))
    return sorted(map(_read, paths), key=lambda p: (p.record.attention, p.record.seed))


def _read(path):
    tensors, metadata = read_tensors(path)
    try:
        parts = {part: _part(tensors, part) for part in ("start", "end", "kept")}
        return Portrait(record=Record(**metadata["record"]), **parts)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a portrait ({error})") from error


def _part(tensors, part):
    found = {name: t for name, t in tensors.items() if name.startswith(f"{part}/")}
    if not found:
        raise ValueError(f"nothing under {part}/")
    return {name.removeprefix(f"{part}/"): tensor for name, tensor in found.items()}
