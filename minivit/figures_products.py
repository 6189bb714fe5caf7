"""Figures of products of attention weights: many at once, and their diagonals.

As in `figures.py`: arrays in, a plotly Figure out, with a caption and `alt_text`. Matrices are
drawn as pictures, not as numbers: 36 of 192 × 192 would be 1.3 million numbers in a notebook.
"""

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from minivit.figures import _finish
from minivit.figures_pixels import SIGNED, matrix_png

_GAP = 4  # pixels between matrices
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#5f5f5f"
_GROUPS = ((_BLUE, "circle"), (_GREY, "x-thin-open"), (_ORANGE, "diamond-open"))


def product_tiles(rows, columns, *, title, source, limit=None, pool=1, x="", tile=None):
    """Square matrices in rows and columns on one colour range: red above zero, blue below.

    rows: label → sequence of arrays (dim, dim), one for each of `columns`. limit: the end of the
    range, by default four times the spread of entries off the diagonal in the row where it is
    largest. pool: draw the sum of pool × pool entries divided by pool as one pixel, which keeps the
    spread of independent entries and the mean of a diagonal. x: what the columns are. tile: pixels
    on a side of a matrix, where the page is wide enough for all; without it, what fits on 700.
    Raises ValueError where a row has another number of matrices than there are columns.
    """
    arrays = {
        label: np.stack([np.asarray(m, np.float32) for m in ms]) for label, ms in rows.items()
    }
    for label, matrices in arrays.items():
        if len(matrices) != len(columns):
            raise ValueError(
                f"row {label!r} has {len(matrices)} matrices for {len(columns)} columns"
            )
    dim = next(iter(arrays.values())).shape[-1]
    if limit is None:
        off = ~np.eye(dim, dtype=bool)
        limit = 4 * max(np.median(m[:, off].std(-1)) for m in arrays.values()) or 1.0
    pooled = [_pooled(matrices, pool) for matrices in arrays.values()]  # each (column, side, side)
    # On a narrow page whole rows of pixels would be left out without smoothing, lines among them.
    smooth = "fast" if pooled[0].shape[-1] > 48 else False
    figure = go.Figure(go.Image(source=_tiled(pooled, limit), zsmooth=smooth, hoverinfo="skip"))
    figure.add_trace(_colour_bar(limit))
    step = pooled[0].shape[-1] + _GAP
    _frame_tiles(figure, step, len(columns), len(arrays))
    centres = {"showgrid": False, "zeroline": False, "ticks": ""}
    ticks = [step * (n + 0.5) for n in range(max(len(columns), len(arrays)))]
    figure.update_xaxes(
        **centres, tickvals=ticks[: len(columns)], ticktext=columns, side="top", title=x
    )
    # On a page that is too narrow for its height the room that is left is below the tiles.
    figure.update_yaxes(
        **centres, tickvals=ticks[: len(arrays)], ticktext=list(arrays), constraintoward="top"
    )
    note = f" · a pixel: the sum of {pool} × {pool} entries / {pool}" if pool > 1 else ""
    words = (
        f"{label or 'matrices'}: "
        + ", ".join(f"{c} {m.diagonal().mean():+.2f}" for c, m in zip(columns, ms, strict=True))
        for label, ms in arrays.items()
    )
    alt = f"Heat maps of {dim} × {dim} matrices; mean of each diagonal. {'; '.join(words)}."
    above, below = 122 if x else 96, 46
    # On a page of 700 pixels all tiles together are about 520 wide.
    height = above + below + int((tile or min(520 / len(columns), 330)) * len(arrays))
    figure = _finish(figure, title, source + note, alt, height=height, below=below - 14)
    if tile:
        figure.layout.meta["picture_width"] = tile * len(columns) + 180
    return figure.update_layout(margin_t=above, showlegend=False)


def _pooled(matrices, pool):
    side = matrices.shape[-1] // pool
    blocks = matrices[:, : side * pool, : side * pool].reshape(-1, side, pool, side, pool)
    return blocks.sum((2, 4)) / pool


def _tiled(rows, limit):
    """Data address of one PNG that holds all matrices, white between them."""
    half = _GAP // 2
    edge = ((0, 0), (half, half), (half, half))
    strips = [np.concatenate(list(np.pad(row, edge)), axis=1) for row in rows]
    return matrix_png(np.concatenate(strips), limit)


def _colour_bar(limit):
    scale = {"colorscale": SIGNED, "cmin": -limit, "cmax": limit, "opacity": 1}
    bar = {"thickness": 12, "len": 0.9, "tickvals": [-limit, 0, limit], "tickformat": ".2g"}
    marker = {**scale, "color": [0], "showscale": True, "colorbar": bar}
    return go.Scatter(x=[None], y=[None], mode="markers", marker=marker, hoverinfo="skip")


def _frame_tiles(figure, step, columns, rows):
    line = {"color": "#c8c8c8", "width": 1}
    for n in range(columns + 1):
        figure.add_shape(
            type="line", x0=step * n - 0.5, x1=step * n - 0.5, y0=0, y1=step * rows, line=line
        )
    for n in range(rows + 1):
        figure.add_shape(
            type="line", y0=step * n - 0.5, y1=step * n - 0.5, x0=0, x1=step * columns, line=line
        )


def significance_and_size(products, *, title, source):
    """Two rulers for the same diagonals: multiples of the chance spread, and the cosine with I.

    products: name of a product → name of a network → DiagonalStats, (layer,) or (layer, head). Left
    the mean diagonal in units of what it has by chance, ±3 of it shaded; right the cosine, with the
    largest that the rank allows dashed. A row for each product, layers counted from 1.
    """
    figure = make_subplots(
        len(products),
        2,
        shared_xaxes=True,
        horizontal_spacing=0.1,
        vertical_spacing=0.08,
        column_titles=["significance: mean diagonal / chance", "size: cosine with I"],
    )
    words, drawn = [], set()
    for row, (product, networks) in enumerate(products.items(), start=1):
        for (name, stats), (colour, symbol) in zip(networks.items(), _GROUPS, strict=False):
            z, cosine = (_by_layer(each) for each in (stats.mean / stats.chance, stats.cosine))
            mark = {"color": colour, "symbol": symbol, "size": 8, "opacity": 0.8, "line_width": 2}
            for column, values in enumerate((z, cosine), start=1):
                figure.add_trace(
                    go.Scatter(
                        x=_places(values).ravel(),
                        y=values.ravel(),
                        mode="markers",
                        marker=mark,
                        name=name,
                        legendgroup=name,
                        showlegend=name not in drawn and column == 1,
                        hovertemplate="layer %{x:.0f}: %{y:.2f}",
                    ),
                    row,
                    column,
                )
            drawn, layers = {*drawn, name}, len(z)
            words.append(_two_in_words(product, name, z, cosine, stats.ceiling))
        figure.add_hrect(-3, 3, fillcolor=_ORANGE, opacity=0.35, line_width=0, row=row, col=1)
        ceiling = next(iter(networks.values())).ceiling
        for level in (-ceiling, ceiling):
            figure.add_hline(level, line={"dash": "dash", "color": _ORANGE}, row=row, col=2)
        figure.update_yaxes(title=product, row=row, col=1)
        figure.update_yaxes(range=[-1.05, 1.05], row=row, col=2)
    figure.update_xaxes(dtick=1, zeroline=False, range=[0.4, layers + 0.6])
    figure.update_xaxes(title="layer", row=len(products))
    caption = f"{source} · shaded: within ±3 of chance · dashed: the most the rank allows"
    figure = _finish(
        figure, title, caption, " ".join(words), height=110 + 230 * len(products), below=76
    )
    return figure.update_layout(legend={"orientation": "h", "y": 1.18, "x": 1, "xanchor": "right"})


def _by_layer(values):
    values = np.asarray(values, float)
    return values[:, None] if values.ndim == 1 else values  # (layer, head)


def _places(values):
    """Where the heads of a layer stand on the axis: side by side."""
    layers, heads = values.shape
    across = np.linspace(-0.25, 0.25, heads) if heads > 1 else np.zeros(1)
    return np.arange(1, layers + 1)[:, None] + across


def _two_in_words(product, name, z, cosine, ceiling):
    return (
        f"{product}, {name}: beyond 5 times chance {(np.abs(z) > 5).sum()} of {z.size}, "
        f"from {z.min():.0f} to {z.max():.0f}; cosine with I from {cosine.min():.2f} to "
        f"{cosine.max():.2f}, median {np.median(cosine):.2f}, possible {ceiling:.2f}."
    )


def diagonal_entries(diagonals, *, title, source):
    """Every entry of some diagonals, side by side on one axis, each with its mean as a line.

    diagonals: name → array (dim,).
    """
    names = list(diagonals)
    figure = make_subplots(
        1, len(names), subplot_titles=names, shared_yaxes=True, horizontal_spacing=0.04
    )
    words = []
    for column, (name, entries) in enumerate(diagonals.items(), start=1):
        entries = np.asarray(entries, float)
        mark = {"color": _BLUE, "size": 5, "opacity": 0.7}
        hover = "entry %{x}: %{y:.2f}<extra></extra>"
        dots = go.Scatter(x0=1, dx=1, y=entries.round(3), mode="markers", marker=mark)
        figure.add_trace(dots.update(hovertemplate=hover, showlegend=False), 1, column)
        line = {"color": _ORANGE, "width": 3}
        figure.add_hline(entries.mean(), line=line, row=1, col=column)
        figure.update_xaxes(title="place on the diagonal", row=1, col=column)
        share = f"{(entries > 0).mean():.0%} above 0"
        ends = f"from {entries.min():.2f} to {entries.max():.2f}"
        words.append(f"{name}: mean {entries.mean():+.3f}, {ends}, {share}")
    figure.update_yaxes(title="entry", row=1, col=1)
    alt = f"Every entry of {len(names)} diagonals. {'; '.join(words)}."
    return _finish(figure, title, f"{source} · line: the mean", alt, height=380, below=76)
