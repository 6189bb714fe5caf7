"""A character-level language model from four ways to start attention, for lesson 08.

`python -m benchmarks.char_lm` trains a small causal transformer on the text of Python's own help
(`pydoc_data.topics`, which every Python has). It first chooses the learning rate on validation
text, for the plain arm and with a tuning seed; then it trains every arm at that rate with the final
seeds and reads the test text once, after the last step. A run whose record is there is not run
again, so it may be stopped and started at any time; `--list` prints what there is.

Another version of Python has another text: records hold its length and digest.
"""

import argparse
import hashlib
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

import minivit
from minivit.bases import normal, torch_default_
from minivit.evidence import contrast
from minivit.init import ATTENTION
from minivit.model import Attention, Block, ViTConfig, sincos_positions
from minivit.records import (
    Record,
    describe_machine,
    load_records,
    loaded_commit,
    select,
    summarise,
    versions,
    write_record,
)
from minivit.runtime import one_thread, stream
from minivit.schedule import decay_groups, warmup_cosine

TUNING = Path(__file__).parent / "records" / "char_lm"
FINAL = Path(minivit.__file__).parent / "records" / "char_lm"  # ships with the package
# +I in OV as well: there are language models in whose trained weights OV is nearer to +I.
ARMS = ("plain", "mimetic", "ov_flipped", "norm_matched")
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
TUNING_SEED = 100
FINAL_SEEDS = (0, 1, 2, 3, 4)
BLOCK = 4096  # characters; of ten blocks one is for validation and one for the test


@dataclass(frozen=True, kw_only=True)
class CharRecipe:
    """A model, how to train it, and how often it is validated meanwhile."""

    context: int = 32
    dim: int = 64
    depth: int = 2
    heads: int = 2
    batch_size: int = 16
    steps: int = 300
    warmup: int = 30
    weight_decay: float = 0.05
    checks: int = 3


class CausalAttention(Attention):
    """minivit's attention, in which a token sees itself and earlier tokens only."""

    def forward(self, x):
        qkv = self.qkv(x).unflatten(2, (3, self.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (batch, head, token, head_dim)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class CharLM(nn.Module):
    """Characters in, (batch, place), logits of each next one out: minivit's blocks, made causal.

    Positions start as the sine and cosine table in one dimension and are trained.
    """

    def __init__(self, characters, recipe):
        super().__init__()
        config = ViTConfig(dim=recipe.dim, depth=recipe.depth, heads=recipe.heads)
        self.embed = nn.Embedding(characters, recipe.dim)
        table = sincos_positions(recipe.context, 2 * recipe.dim)  # of a square; we take a row
        self.pos_embed = nn.Parameter(table[: recipe.context, : recipe.dim].clone()[None])
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        for block in self.blocks:
            block.attn = CausalAttention(config)
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.head = nn.Linear(config.dim, characters)

    def forward(self, text):
        x = self.embed(text) + self.pos_embed[:, : text.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def start_(model, attention, seed):
    """The base torch_default, embeddings standard normal as PyTorch's, then the arm."""
    generator = stream(seed, "weights")
    torch_default_(nn.Sequential(*model.blocks, model.norm, model.head), generator=generator)
    with torch.no_grad():
        model.embed.weight.copy_(normal(*model.embed.weight.shape, generator=generator))
    return ATTENTION[attention](model, generator=stream(seed, "attention"))


def read_text():
    """The text of all topics of Python's help, in the order of their names."""
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


@dataclass(frozen=True)
class Text:
    """Characters as numbers, and where windows of each part may begin.

    starts: "train" any place, "validation" and "test" one window after another.
    """

    alphabet: str
    codes: torch.Tensor
    starts: dict
    data: dict


def encode(text, context):
    """Cuts the text into blocks: of every ten the fifth validates and the tenth tests."""
    alphabet = "".join(sorted(set(text)))
    number = {character: i for i, character in enumerate(alphabet)}
    codes = torch.tensor([number[character] for character in text])
    starts = {"train": [], "validation": [], "test": []}
    for block, begin in enumerate(range(0, len(text), BLOCK)):
        part = {4: "validation", 9: "test"}.get(block % 10, "train")
        end = min(begin + BLOCK, len(text)) - context  # a window has one character more to predict
        starts[part].extend(range(begin, end, 1 if part == "train" else context))
    digest = hashlib.sha256(text.encode()).hexdigest()
    data = {"name": "pydoc_data.topics", "characters": len(text), "digest": digest}
    return Text(alphabet, codes, {part: torch.tensor(s) for part, s in starts.items()}, data)


def windows(text, starts, context):
    """Returns (characters, the next ones), both (window, place)."""
    whole = text.codes[starts[:, None] + torch.arange(context + 1)]
    return whole[:, :-1], whole[:, 1:]


def bits(model, inputs, targets):
    """Cross-entropy of the next character, in bits."""
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten()) / math.log(2)


@torch.no_grad()
def measure(model, text, part, recipe):
    """Returns (bits a character, fraction of next characters that are right) of a part."""
    total, right, n = 0.0, 0, 0
    for starts in text.starts[part].split(256):
        inputs, targets = windows(text, starts, recipe.context)
        logits = model(inputs)
        total += F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").item()
        right += (logits.argmax(-1) == targets).sum().item()
        n += targets.numel()
    return total / n / math.log(2), right / n


def train(model, text, recipe, rate, seed):
    """Trains in place; returns what a record calls epochs: `checks` equal parts of the run."""
    groups = decay_groups(model, recipe.weight_decay)
    optimizer = torch.optim.AdamW(groups, fused=True)
    order, places = stream(seed, "order"), text.starts["train"]
    parts, losses, began = [], [], time.perf_counter()
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * warmup_cosine(step, recipe.steps, recipe.warmup)
        chosen = torch.randint(len(places), (recipe.batch_size,), generator=order)
        loss = bits(model, *windows(text, places[chosen], recipe.context))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % (recipe.steps // recipe.checks) == 0:
            validation_bits, accuracy = measure(model, text, "validation", recipe)
            part = {"epoch": len(parts) + 1, "train_loss": sum(losses) / len(losses)}
            part |= {"validation_bits": validation_bits, "validation_accuracy": accuracy}
            parts.append(part | {"seconds": time.perf_counter() - began})
            losses, began = [], time.perf_counter()
    return parts


def run(text, attention, seed, rate, role, recipe=CharRecipe()):
    """One run, on one thread; returns its Record. Only a final run reads the test text."""
    commit, dirty = loaded_commit()
    with one_thread():
        model = start_(CharLM(len(text.alphabet), recipe), attention, seed)
        parts = train(model, text, recipe, rate, seed)
        device = describe_machine(torch.device("cpu"))
        accuracy = None
        if role == "final":
            parts[-1]["test_bits"], accuracy = measure(model, text, "test", recipe)
    return Record(
        scale="char_lm",
        base="torch_default",
        attention=attention,
        variant="",
        seed=seed,
        role=role,
        learning_rate=rate,
        recipe=asdict(recipe),
        data=text.data,
        versions=versions(),
        device=device,
        commit=commit,
        dirty=dirty,
        epochs=parts,
        final_accuracy=accuracy,
    )


def records(folder, role):
    return select(load_records(folder), role=role) if folder.is_dir() else []


def best_rate(tuning):
    """The rate with the fewest bits on validation text, after the last step; None without runs."""
    best = min(tuning, key=lambda run: run.epochs[-1]["validation_bits"], default=None)
    return best and best.learning_rate


def missing(tuning, final):
    """The planned runs without a record, (attention, seed, rate, role): tuning comes first."""
    done = {(r.attention, r.seed, r.learning_rate, r.role) for r in [*tuning, *final]}
    todo = [("plain", TUNING_SEED, rate, "tuning") for rate in RATES]
    if done.issuperset(todo):
        best = best_rate(tuning)
        todo = [(arm, seed, best, "final") for seed in FINAL_SEEDS for arm in ARMS]
    return [run for run in todo if run not in done]


def test_bits(record):
    return record.epochs[-1]["test_bits"]


def table(final):
    """Test bits a character of each arm, and less those of plain, paired by seed."""
    lines, plain = [], select(final, attention="plain")
    for arm in ARMS:
        own = select(final, attention=arm)
        if not own:
            continue
        mean, std, n, *_ = summarise([test_bits(record) for record in own])
        apart = contrast([own], [plain], value=test_bits) if arm != "plain" else None
        words = f"  {apart.mean:+.4f} [{apart.low:+.4f}, {apart.high:+.4f}]" if apart else ""
        lines.append(f"{arm:>13} {own[0].learning_rate:g}: {mean:.4f} ± {std:.4f}, n = {n}{words}")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description="the language model's runs that are missing")
    parser.add_argument("--list", action="store_true", help="only say what is there")
    list_only = parser.parse_args().list
    text = encode(read_text(), CharRecipe.context)
    while not list_only and (left := missing(records(TUNING, "tuning"), records(FINAL, "final"))):
        attention, seed, rate, role = left[0]
        record = run(text, attention, seed, rate, role)
        write_record(record, FINAL if role == "final" else TUNING)
        last = record.epochs[-1]
        took = sum(part["seconds"] for part in record.epochs)
        print(f"{role} {attention} {rate:g} seed {seed}:", end=" ")
        print(f"{last['validation_bits']:.4f} bits on validation, {took:.0f} s", flush=True)
    print("rate:", best_rate(records(TUNING, "tuning")))
    print(table(records(FINAL, "final")))


if __name__ == "__main__":
    main()
