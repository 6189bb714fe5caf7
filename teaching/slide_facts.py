"""What decks take from records and pages rather than from a lesson's cell: `teaching.slides`.

FINDINGS.md, CLAIMS.md and CITATION.cff are read as they stand; tests hold the first two to the
records. So a number on a slide is typed nowhere.
"""

import base64
import re
from functools import cache
from html import escape
from typing import NamedTuple

import torch
import yaml
from torch import nn

from minivit import Mimetic, ViT, ViTConfig
from minivit.bases import BASES
from minivit.evidence import behind, contrast, final_runs, recorded_on
from minivit.figures import intervals, line_plot
from teaching.exercises import ROOT

PAGES = {"findings": ROOT / "benchmarks" / "FINDINGS.md", "claims": ROOT / "CLAIMS.md"}
STATED = re.compile(r"- (.+?)(?: \((Asked .+?)\.\))? (\S+ \[.+?\]), n = (\d+)( †)?")
KINDS = ("Holds", "Does not hold", "Not known")
TURNS = {
    "as the recipe is": "",
    "8 heads": "heads=8",
    "class token": "pool=cls",
    "shuffled positions": "positions=shuffled",
    "patch embedding × 4 in both": "patch_scale=4",
    "small random positions": "positions=learned",
    "sin-cos positions × 0.04": "position_scale=0.04",
    "positions minus what patches share": "positions=centred",
}


class Finding(NamedTuple):
    """A statement of FINDINGS.md: what its records say of it. asked: when, if not before."""

    verdict: str
    points: str
    seeds: str
    strong: bool
    asked: str

    def __str__(self):
        return self.points + " †" * self.strong


@cache
def _stated(page):
    kind, found = None, []
    for line in page.splitlines():
        heading = re.fullmatch(r"\*\*(.+)\*\*", line)
        kind = heading[1] if heading else kind
        if kind in KINDS and (row := STATED.fullmatch(line)):
            text, asked, points, seeds, strong = row.groups()
            found.append((text, Finding(kind.lower(), points, seeds, bool(strong), asked or "")))
    return found


def finding(text):
    """What FINDINGS.md says of a statement; ValueError where it has not this one, and once."""
    found = [each for words, each in _stated(_page("findings")) if words == text]
    if len(found) != 1:
        raise ValueError(f"{text!r} is {len(found)} times among the statements of FINDINGS.md")
    return found[0]


def asked():
    """How many statements FINDINGS.md has: so many were asked at once for a †."""
    return len(_stated(_page("findings")))


def claim(text):
    """{heading: cell} of the row of CLAIMS.md that begins with a claim; ValueError for no such."""
    heads, found = None, []
    for line in _page("claims").splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if cells[0] == "claim":
            heads = cells
        elif heads and cells[0] == text:
            found.append(dict(zip(heads, cells, strict=False)))
    if len(found) != 1:
        raise ValueError(f"{text!r} is {len(found)} times in CLAIMS.md")
    return found[0]


def _page(name):
    return PAGES[name].read_text(encoding="utf-8")


def paper():
    """The paper that the course teaches, as CITATION.cff has it, in one line."""
    source = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["references"][0]
    names = " &amp; ".join(each["family-names"] for each in source["authors"])
    meeting = "".join(word[0] for word in source["conference"]["name"].split() if word[0].isupper())
    number = source["identifiers"][0]["value"].replace(":", " ")
    return f"{names}, <em>{source['title']}</em>, {meeting} {source['year']}, {number}"


def cited():
    """The paper at the foot of a slide."""
    return f'<p class="from">{paper()}</p>'


def picture(path, alt, width=1180):
    """A picture of the repository inside the page. alt: what it shows, in words."""
    data = base64.b64encode((ROOT / path).read_bytes()).decode()
    source = f"data:image/png;base64,{data}"
    return f'<div class="picture"><img src="{source}" alt="{escape(alt)}" width="{width}"></div>'


def drawing(name):
    """A drawing in teaching/decks, as part of the page."""
    text = (ROOT / "teaching" / "decks" / name).read_text(encoding="utf-8")
    return f'<div class="drawing">{" ".join(text.split())}</div>'


def turns():
    """A figure of mimetic's gain over plain where one thing else is changed."""
    rows = {
        name: contrast(*([final_runs("torch_default", arm, v)] for arm in ("mimetic", "plain")))
        for name, v in TURNS.items()
    }
    if None in rows.values():
        raise ValueError("a variant has fewer than two pairs of final runs")
    source = f"{recorded_on(behind(rows.values()))} · test accuracy, base torch_default"
    return intervals(rows, title="Mimetic minus plain, when one thing is changed", source=source)


def heads(text):
    """A figure of lines such as "d = 192, 3 heads of width 64: 0.392"; ValueError where none is."""
    found = re.findall(r"d = +(\d+), +(\d+) heads of width +\d+: ([0-9.]+)", text)
    if not found:
        raise ValueError(f"no line on the heads of a network in:\n{text}")
    lines = {}
    for dim, number, mean in found:
        places, values = lines.setdefault(f"width {dim}", ([], []))
        places.append(int(number))
        values.append(float(mean))
    about = {"x": "number of heads", "y": "mean of the diagonal after the cut"}
    about |= {"source": f"target {Mimetic.alpha_qk} Z + {Mimetic.beta_qk} I"}
    figure = line_plot(lines, title="W_Q W_Kᵀ of one head", **about)
    for size, (line, (places, _)) in enumerate(zip(figure.data, lines.values(), strict=True)):
        if len(places) == 1:  # a ring around the point that it agrees with
            line.update(marker={"size": 12 + 4 * size, "symbol": "circle-open", "line_width": 3})
    return figure


def starts(dim=192, layers=12):
    """A block: four ways to start a linear layer, and what a chain of such layers does to a token.

    Drawn when the deck is built, with a seed; lengths are root mean squares over all directions.
    """
    lines = [
        f"{f'width {dim}':<18}{'spread of entries':>18}{'1 layer':>10}{f'{layers} layers':>12}"
    ]
    for name, start in _STARTS.items():
        g, x = torch.Generator().manual_seed(0), torch.eye(dim)
        spread, lengths = [], []
        for _ in range(layers):
            weight = start(dim, g)
            x = x @ weight.T
            spread.append(weight.std().item())
            lengths.append((x.square().sum() / dim).sqrt().item())
        mean = sum(spread) / layers
        lines.append(f"{name:<18}{mean:>18.3f}{lengths[0]:>10.2f}{lengths[-1]:>12.2g}")
    return f'<pre style="font-size: 30px">{escape(chr(10).join(lines))}</pre>'


def _of_base(name):
    """A linear layer of a ViT on this base: (dim, generator) → its weight."""

    def start(dim, g):
        model = BASES[name](ViT(ViTConfig(dim=dim, depth=1, heads=1)), generator=g)
        return model.blocks[0].attn.proj.weight.detach()

    return start


_STARTS = {
    "vit_trunc_normal": _of_base("vit_trunc_normal"),
    "torch_default": _of_base("torch_default"),
    "Xavier": lambda dim, g: nn.init.xavier_uniform_(torch.empty(dim, dim), generator=g),
    "He": lambda dim, g: nn.init.kaiming_normal_(torch.empty(dim, dim), generator=g),
}
