"""The table of `python -m minivit inspect`: how much of I the products of a checkpoint hold."""

from pathlib import Path

from minivit.circuits import diagonal_stats, ov, qk
from minivit.pretrained import attention_of, heads_are_known, open_checkpoint

COLUMNS = f"{'mean':>9}{'spread':>9}{'z':>9}{'cosine':>9}"
ASSUMED = "assumed, as in published models of this size; the file does not tell. Else: --heads N"


def inspection_table(name_or_path: str | Path, *, heads: int | None = None) -> str:
    """The diagonal of each head's W_Q W_Kᵀ and of each layer's W_V W_O summed over heads, as text.

    heads: where they can't be seen; a line says so where they are assumed. Raises ValueError as
    `pretrained.read_attention`.
    """
    file = open_checkpoint(name_or_path)
    assumed = heads is None and not heads_are_known(file)
    weights = attention_of(file, heads)
    layers, heads, dim, width = weights.W_Q.shape
    of_heads = diagonal_stats(qk(weights), rank=width)  # each (layer, head)
    of_layers = diagonal_stats(ov(weights).sum(1))  # each (layer,)
    rows = [
        f"{f'{layer} {head}':>10}{_cells(of_heads, (layer, head))}   |"
        + (_cells(of_layers, layer) if head == 0 else "")
        for layer in range(layers)
        for head in range(heads)
    ]
    header = [
        f"file    {file.path}",
        f"source  {file.source}",
        f"layout  {file.layout}; {layers} layers, dim {dim}, {heads} heads of width {width}",
        *([f"heads   {ASSUMED}"] if assumed else []),
        "",
        "mean: of the diagonal. spread: standard deviation off it. z = mean / (spread / √dim): by",
        "chance within ±3. cosine: with I; the rank of a head's product allows at most "
        f"{of_heads.ceiling:.2f}.",
        "",
        f"{'':10}{'QK = W_Q W_Kᵀ of each head':^36}   |{'OV = W_V W_O, summed over heads':^36}",
        f"{'layer head':>10}{COLUMNS}   |{COLUMNS}",
    ]
    return "\n".join([*header, *rows, "", *_summary(of_heads, of_layers)])


def _cells(stats, place):
    mean, spread, cosine = (
        value[place].item() for value in (stats.mean, stats.spread, stats.cosine)
    )
    z = (stats.mean / stats.chance)[place].item()
    return f"{mean:>+9.3f}{spread:>9.3f}{z:>+9.1f}{cosine:>+9.2f}"


def _summary(of_heads, of_layers):
    z = of_heads.mean / of_heads.chance
    return [
        f"QK: |z| > 5 in {(z.abs() > 5).sum()} of {z.numel()} heads, mean > 0 in "
        f"{(of_heads.mean > 0).sum()}; median cosine {of_heads.cosine.quantile(0.5):+.2f}",
        f"OV: mean < 0 in {(of_layers.mean < 0).sum()} of {len(of_layers.mean)} layers; "
        f"median cosine {of_layers.cosine.quantile(0.5):+.2f}",
    ]
