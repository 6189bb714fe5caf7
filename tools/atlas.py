"""Makes minivit/atlas from real checkpoints: numbers, and products rounded to 8 bits.

Run `make atlas` with MINIVIT_DATA set to a folder that has the files. A checkpoint that is not
there keeps the entry that it has. VERSION goes up when what is computed changes.
"""

import json
import sys
from pathlib import Path

import torch

import minivit
from minivit import (
    AttentionWeights,
    atlas,
    cifar10,
    diagonal_stats,
    load_pretrained,
    qk,
    surgery,
)
from minivit.catalog import CATALOG, find_here
from minivit.init import random_orthogonal
from minivit.pretrained import read_attention
from minivit.storage import file_digest, write_tensors, write_text

VERSION = 1
TITLES = {"deit_tiny_patch16_224": "DeiT-Tiny", "gpt2": "GPT-2 small", "vit_b_16": "ViT-B/16"}
WITH_PRODUCTS = ("deit_tiny_patch16_224",)  # the others' would be too large for a repository


def main():
    """Writes every entry whose checkpoint is here; returns the exit status."""
    made = [name for name in TITLES if find_here(CATALOG[name])]
    for name in TITLES:
        print(f"{name}: {'making' if name in made else 'its file is not here'}", flush=True)
    entries = {name: make(name, atlas.FOLDER) for name in made}
    for name in set(made) & set(WITH_PRODUCTS):
        entries[name]["surgery"] = operate(name)
    write_index(atlas.FOLDER, entries)
    for path in sorted(atlas.FOLDER.glob("*.safetensors")):
        print(f"{path.stat().st_size:>9,} bytes  {path.name}")
    return 0 if made else 1


def make(name, folder):
    """Writes the files of one entry into folder; returns what the index says of it."""
    entry = CATALOG[name]
    path = find_here(entry)
    weights = read_attention(path)
    parts = {"numbers": atlas.measure(weights)}
    if name in WITH_PRODUCTS:
        packed = atlas.pack(weights)
        for part, factors in {"qk": ("W_Q", "W_K"), "ov": ("W_V", "W_O")}.items():
            parts[part] = {key: t for key, t in packed.items() if key.startswith(factors)}
    files = {}
    for part, tensors in parts.items():
        target = Path(folder) / f"{name}.{part}.safetensors"
        write_tensors(target, tensors)
        files[target.name] = file_digest(target)
    return {
        "title": TITLES[name],
        "source": entry.source,
        "licence": entry.licence,
        "original": {"file": entry.file, "sha256": file_digest(path)},
        "made_by": {"tools/atlas.py": VERSION, "minivit": minivit.__version__},
        "files": files,
    }


def operate(name, images=200, rotations=5):
    """How often the model answers the same without the multiple of I in its W_Q W_Kᵀ.

    And, as controls, without as large a multiple of random rotations, and with the multiple of I
    put in once more. The images are CIFAR-10's, which the model was not trained on: what counts is
    whether its answer stays.
    """
    photos = cifar10()[0].subset(images, seed=0)
    model = load_pretrained(name)
    weights = AttentionWeights.of(model)
    pixels = model.preprocessing(photos.images)
    before = surgery.answers(model, pixels)
    multiple = diagonal_stats(qk(weights)).mean[..., None, None]  # (layer, head, 1, 1)
    layers, heads, dim, _ = weights.W_Q.shape

    def share_that_stays(part):
        after = surgery.answers(model, pixels, multiple * part)
        return round((after == before).float().mean().item(), 3)

    def rotation(seed):  # another one for each head
        g = torch.Generator().manual_seed(seed)
        turns = [random_orthogonal(dim, g) for _ in range(layers * heads)]
        return torch.stack(turns).unflatten(0, (layers, heads))

    return {
        "images": f"{len(photos.images)} training images of {photos.name}, seed 0",
        "identity": share_that_stays(torch.eye(dim)),
        "rotations": [share_that_stays(rotation(seed)) for seed in range(rotations)],
        "twice": share_that_stays(-torch.eye(dim)),
    }


def write_index(folder, entries):
    """Writes index.json: these entries, and those of before that were not made again."""
    path = Path(folder) / "index.json"
    before = json.loads(path.read_text(encoding="utf-8"))["entries"] if path.is_file() else {}
    text = json.dumps({"entries": before | entries}, indent=1, ensure_ascii=False)
    write_text(path, f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
