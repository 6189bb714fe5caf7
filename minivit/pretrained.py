"""Reads pretrained weights: minivit's own files, timm's, torchvision's ViT, GPT-2's attention.

Loading is strict: a key too many or too few, or another shape, is an error. Nothing that a file
holds is ever executed.
"""

import pickle
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from minivit.bases import vit_trunc_normal_
from minivit.catalog import CATALOG, Checkpoint, find, known_by_digest
from minivit.circuits import AttentionWeights
from minivit.layouts import GPT2, config_from_shapes, convert, gpt2_attention, layout_of
from minivit.model import ViT, ViTConfig
from minivit.runtime import stream
from minivit.saving import with_weights
from minivit.storage import DIGEST_KEY, read_safetensors, read_tensors

# What minivit writes about a file: by save_model, and while a training runs.
OWN = {"config": "minivit", "run": "minivit, training checkpoint"}
# What DataParallel and torch.compile put before every name; one may be around the other.
WRAPPERS = ({"module"}, {"_orig_mod"})


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A file that was read: its tensors as they are there, its layout, what is known of it."""

    path: Path
    source: str
    layout: str
    entry: Checkpoint | None  # of CATALOG, where the file was asked for or recognised as one
    metadata: dict  # as write_tensors got it; empty in files of others
    tensors: dict[str, Tensor] = field(repr=False)


def load_pretrained(name_or_path: str | Path, *, heads: int | None = None) -> ViT:
    """Returns a ViT in eval mode on the CPU, with `.preprocessing` (None where it is not known).

    A name of CATALOG is looked for in $MINIVIT_DATA, in the cache, then on the network; anything
    else is the path of a file of safetensors or torch.save. What shapes do not tell: norm_eps is
    taken as 1e-6, the number of heads, with a warning, as that of ViT-Tiny, Small and Base where
    dim and depth are theirs; for other sizes give `heads`. Of a class token it is taken that the
    head reads it (timm can average over all tokens beside one), and of the MLP that it has GELU.
    What DataParallel and torch.compile put before every name, "module." and "_orig_mod.", is taken
    off. Raises ValueError where heads is missing or contradicts the file, and for a file that is
    damaged, not the entry's, or not strictly such a ViT.
    """
    file = open_checkpoint(name_or_path)
    model = vit_of(file, heads)
    _say_where_heads_are_assumed(file, heads, model.config.heads)
    return model


def load_or_untrained(name: str) -> tuple[ViT, str]:
    """(model, what it is): `load_pretrained(name)`, or a stand-in where the file can't be had.

    The stand-in has the same shape and preprocessing, and weights as timm starts them
    (`vit_trunc_normal_`, seed 0); the sentence then begins with "UNTRAINED" and says why. For
    lessons, whose pictures must say what they show. Raises ValueError for a name not in CATALOG.
    """
    entry = CATALOG.get(name)
    if entry is None or entry.config is None:
        known = [each.name for each in CATALOG.values() if each.config]
        raise ValueError(f"{name!r} is no ViT of the catalogue; it must be one of {known}")
    try:
        file = open_checkpoint(name)
    except ValueError as error:
        with torch.random.fork_rng(devices=[]):
            model = vit_trunc_normal_(ViT(entry.config), generator=stream(0, "weights"))
        model.preprocessing = entry.preprocessing
        return model.eval(), f"UNTRAINED stand-in of the same shape, because {error}"
    return vit_of(file), f"{name}: {file.source}"


def read_attention(name_or_path: str | Path, *, heads: int | None = None) -> AttentionWeights:
    """Attention weights of what `load_pretrained` reads, and of GPT-2; ValueErrors as there.

    For GPT-2, heads is known at the four published sizes.
    """
    file = open_checkpoint(name_or_path)
    weights = attention_of(file, heads)
    if file.layout not in GPT2:
        _say_where_heads_are_assumed(file, heads, weights.W_Q.shape[1])
    return weights


def _say_where_heads_are_assumed(file, heads, found):
    """No size has one number of heads only: MoCo v3's ViT-S has 12, where others have 6."""
    if heads is None and not heads_are_known(file):
        warnings.warn(
            f"{file.path}: {found} heads are assumed, as in most published models of this size; "
            "the file does not tell. Give heads=… to be sure",
            stacklevel=3,
        )


def open_checkpoint(name_or_path: str | Path) -> Opened:
    """Finds, checks and reads a file; ValueErrors as in `load_pretrained`."""
    entry = CATALOG.get(name_or_path)
    if entry:
        path, source = find(entry)
    else:
        path = Path(name_or_path).expanduser()
        if not path.is_file():
            raise ValueError(f"{path}: no such file, and no name of {list(CATALOG)}")
        entry = known_by_digest(path)
        source = entry.source if entry else "not known"
    tensors, metadata = _read(path)
    with _named(path):
        own = [layout for sign, layout in OWN.items() if sign in metadata]
        layout = own[0] if own else layout_of(tensors)
    return Opened(
        path=path, source=source, layout=layout, entry=entry, metadata=metadata, tensors=tensors
    )


def _read(path):
    """Returns (tensors, metadata); the latter is empty in files that minivit did not write."""
    if _is_torchs(path):
        return _read_torch(path), {}
    tensors, notes = read_safetensors(path)
    return read_tensors(path) if DIGEST_KEY in notes else (_bare(tensors), {})


def _is_torchs(path):
    """Whether torch.save wrote the file, by its first bytes; by its name where they do not tell."""
    with open(path, "rb") as file:
        head = file.read(9)
    if head[8:] == b"{":  # safetensors: the length of a header in JSON, then the header
        return False
    torchs = head.startswith((b"PK\x03\x04", b"\x80"))  # a zip; before torch 1.6, or bare, a pickle
    return torchs or path.suffix in (".pth", ".pt", ".bin")


def _read_torch(path):
    try:
        with open(path, "rb") as file:  # given a path, newer versions of torch look at its ending
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path}: damaged, or it holds objects other than tensors, and code in a file is never "
            "executed. If you trust it, save its state_dict as .safetensors elsewhere"
        ) from error
    except Exception as error:  # a damaged file can raise nearly anything
        raise ValueError(f"{path}: not a whole file of torch.save ({error})") from error
    for wrapper in ("model", "state_dict"):  # DeiT's and many others' files have one
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(map(torch.is_tensor, content.values())):
        raise ValueError(f"{path}: not a state_dict, a dict of names and tensors")
    return _bare(content)


def _bare(tensors):
    """The same tensors, named as in the model itself and not as in what was wrapped around it."""
    names = [str(name) for name in tensors]
    while {name.partition(".")[0] for name in names} in WRAPPERS:
        names = [name.partition(".")[2] for name in names]
    # Hugging Face's GPT-2 comes with and without this prefix.
    names = [name.removeprefix("transformer.") for name in names]
    return dict(zip(names, tensors.values(), strict=True))


@contextmanager
def _named(path):
    """Puts the file's name before what a ValueError says."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def vit_of(file: Opened, heads: int | None = None) -> ViT:
    """The ViT that an opened file holds, as `load_pretrained` returns it."""
    with _named(file.path):
        own = file.layout in OWN.values()
        config, weights = _own(file) if own else _foreign(file, heads)
        if heads not in (None, config.heads):
            raise ValueError(f"heads is {heads}, but this model has {config.heads}")
        model = with_weights(config, weights)
    model.preprocessing = file.entry and file.entry.preprocessing
    return model


def _own(file):
    """Configuration and weights of a file that save_model or a training wrote."""
    try:
        if "config" in file.metadata:
            return ViTConfig(**file.metadata["config"]), file.tensors
        settings = _under("model.", file.metadata["run"])
        return ViTConfig(**settings), _under("model/", file.tensors)
    except (AttributeError, TypeError) as error:  # a number where a dict belongs
        raise ValueError(f"its configuration is not this minivit's ({error})") from error


def _under(prefix, entries):
    return {name.removeprefix(prefix): v for name, v in entries.items() if name.startswith(prefix)}


def _foreign(file, heads):
    if file.layout in GPT2:
        raise ValueError("GPT-2 is no ViT; AttentionWeights.load reads its attention")
    weights = convert(file.tensors, file.layout)
    known = file.entry and file.entry.config
    return known or config_from_shapes(weights, heads), weights


def heads_are_known(file: Opened) -> bool:
    """Whether the number of heads is part of what is known of a file, and not taken from shapes."""
    return file.layout in OWN.values() or file.entry is not None


def attention_of(file: Opened, heads: int | None = None) -> AttentionWeights:
    """The attention weights that an opened file holds, as `read_attention` returns them."""
    if file.layout not in GPT2:
        return AttentionWeights.of(vit_of(file, heads))
    with _named(file.path):
        return gpt2_attention(file.tensors, heads)
