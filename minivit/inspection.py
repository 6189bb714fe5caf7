"""The table of `python -m minivit inspect`: how much of ±I each product of a checkpoint holds."""

from minivit.circuits import AttentionWeights, diagonal_stats, ov, qk

EXPLANATION = (
    "mean: of the diagonal. spread: of the entries off it. z: mean in units of what chance gives.\n"
    "cosine: with I; 1 for a multiple of I. Rank {head_dim} of {dim} can reach {ceiling:.2f}."
)


def inspection_table(name_or_path):
    """QK of each layer and head, and OV summed over the heads of each layer, as text.

    Raises ValueError as `pretrained.read_attention` does.
    """
    weights = AttentionWeights.load(name_or_path)
    layers, heads, dim, head_dim = weights.W_Q.shape
    by_head = diagonal_stats(qk(weights), rank=head_dim)
    by_layer = diagonal_stats(ov(weights).sum(1))
    lines = [f"{name_or_path}: {layers} layers, {heads} heads, width {dim}", ""]
    lines += [EXPLANATION.format(head_dim=head_dim, dim=dim, ceiling=by_head.ceiling), ""]
    lines += [f"{'layer':>5}  {'head':>4}  {'mean':>8}  {'spread':>7}  {'z':>7}  {'cosine':>7}"]
    lines += ["W_Q W_Kᵀ"]
    lines += [_row(n, h, by_head, (n, h)) for n in range(layers) for h in range(heads)]
    lines += ["W_V W_O, summed over heads"]
    lines += [_row(n, None, by_layer, n) for n in range(layers)]
    return "\n".join(lines)


def _row(layer, head, stats, where):
    mean, spread, cosine = (float(v[where]) for v in (stats.mean, stats.spread, stats.cosine))
    z = mean / float(stats.chance[where])
    label = "all" if head is None else head + 1
    return f"{layer + 1:>5}  {label:>4}  {mean:>+8.3f}  {spread:>7.3f}  {z:>+7.1f}  {cosine:>+7.2f}"
