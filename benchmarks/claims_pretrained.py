"""The part of CLAIMS.md on pretrained weights: counted in minivit's atlas, which needs no data.

A head or layer counts as beyond chance where the mean of its product's diagonal is more than five
times its spread by chance, σ/√d with σ the standard deviation of the product's entries.
"""

from typing import NamedTuple

from minivit import atlas

FIVE = 5.0
BLOG = "notes on Trockman & Kolter 2023, figures 1 and 2"


class Sign(NamedTuple):
    """A claim that the diagonals of one product have one sign. product: of atlas.PRODUCTS."""

    text: str
    checkpoint: str
    product: str
    sign: int
    source: str = BLOG
    mark: str = "B"

    def row(self, reading):
        """(what was counted, verdict)."""
        stats = reading.stats(self.product)
        z = self.sign * (stats.mean / stats.chance).flatten()
        right, wrong, n = int((z > FIVE).sum()), int((z < -FIVE).sum()), len(z)
        what = "heads" if "head" in self.product or self.product == "qk" else "layers"
        words = {1: ("positive", "negative"), -1: ("negative", "positive")}[self.sign]
        counted = f"{words[0]} in {right}, {words[1]} in {wrong} of {n} {what}"
        return counted, sign_verdict(right, wrong, n)


class Trend(NamedTuple):
    """A claim that a product's cosine with the identity grows (1) or falls (−1) with depth."""

    text: str
    checkpoint: str
    product: str
    sign: int
    source: str = BLOG
    mark: str = "B"

    def row(self, reading):
        """(mean cosine in the first, middle and last third of the layers, verdict)."""
        cosine = reading.stats(self.product).cosine
        cosine = cosine.reshape(len(cosine), -1).mean(1)  # over the heads, where there are any
        first, middle, last = (part.mean().item() for part in cosine.tensor_split(3))
        thirds = f"{first:+.2f}, {middle:+.2f}, {last:+.2f}"
        counted = f"mean cosine with I, by thirds of the depth: {thirds}"
        return counted, trend_verdict(*(self.sign * each for each in (first, middle, last)))


CLAIMS = (
    Sign("In W_Q W_Kᵀ the diagonal is positive", "deit_tiny_patch16_224", "qk", 1),
    Trend(
        "In W_Q W_Kᵀ it fades in deep layers",
        "deit_tiny_patch16_224",
        "qk",
        -1,
        "MIT course blog on training at small scale",
    ),
    Sign("In W_V W_proj the diagonal is negative", "deit_tiny_patch16_224", "ov", -1),
    Sign("In GPT-2's W_Q W_Kᵀ it is negative", "gpt2", "qk", -1),
    Trend("In GPT-2's W_V W_proj it turns positive with depth", "gpt2", "ov", 1),
)
HEAD = f"""
## Pretrained weights

One checkpoint each, counted in `minivit/atlas`; *beyond chance* is more than {FIVE:g} times the
spread of a mean diagonal by chance. Significant is not large: lesson 02 has the cosines.

| claim | source | mark | checkpoint | ours, beyond chance | verdict |
|---|---|---|---|---|---|
"""
FOOT = """
*seen*: of this sign beyond chance in more than half, and of the other in fewer than a tenth; a
trend from third to third. *in part*: from the first third to the last, but not through the middle.
*mixed*: beyond chance with both signs. *not seen*: nothing of these.
"""


def sign_verdict(right, wrong, n):
    """In words, from how many of `n` are beyond chance with the sign claimed and the other."""
    if right > n / 2 and wrong < n / 10:
        return "seen"
    return "mixed" if right and wrong else "not seen"


def trend_verdict(first, middle, last):
    """In words, whether three numbers rise."""
    if first < middle < last:
        return "seen"
    return "in part" if first < last else "not seen"


def section():
    """The section of CLAIMS.md, from the atlas alone."""
    rows = []
    for claim in CLAIMS:
        reading = atlas.load(claim.checkpoint)
        cells = [claim.text, claim.source, claim.mark, reading.about["title"], *claim.row(reading)]
        rows.append(f"| {' | '.join(cells)} |\n")
    return HEAD + "".join(rows) + FOOT
