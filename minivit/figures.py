"""Figures: arrays or records in, a plotly Figure out. Nothing is shown, trained or read here.

One look for all: an opaque white ground (readable on a dark page too), the colours of Okabe and Ito
(colour-blind safe, 2008) with a dash of its own for each arm, and a caption inside the picture that
says which data, device and scale it comes from. `alt_text` gives each figure's words.
"""

from textwrap import wrap

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from minivit.evidence import decimals
from minivit.figures_pixels import SIGNED, picture_png

ARM_NAMES = {
    "plain": "plain",
    "norm_matched": "norm-matched",
    "rotated": "rotated",
    "mimetic": "mimetic",
    "qk_only": "QK only",
    "ov_only": "OV only",
    "ov_flipped": "OV flipped",
    "impulse": "impulse",
}
CAPTION = 84  # letters on a line of a caption: what is longer would be cut off in narrow windows
_WHOLE = {"break_long_words": False, "break_on_hyphens": False}
_COLOURS = ("#5f5f5f", "#E69F00", "#009E73", "#0072B2", "#56B4E9", "#CC79A7", "#D55E00")
_LINE_COLOURS = tuple(_COLOURS[i] for i in (3, 6, 2, 1, 5, 4, 0))  # the most different first
_DASHES = ("dot", "dash", "dashdot", "solid", "longdash", "longdashdot", "dash")
_STYLE = {
    arm: {"color": colour, "dash": dash, "width": 3}
    for arm, colour, dash in zip(
        ARM_NAMES, (*_COLOURS, "#000000"), (*_DASHES, "longdash"), strict=True
    )
}


def training_curves(curves, *, title, source):
    """Accuracy after each epoch: for each arm its mean over seeds, in a band from worst to best.

    curves: arm → array (seed, epoch) of fractions, every arm with the same number of epochs.
    source: which data, scale and device, for the caption. Raises ValueError for no curves.
    """
    if not curves:
        raise ValueError("no curves were given; at least one arm is needed")
    figure = go.Figure()
    words = []
    for arm, accuracies in curves.items():
        percent = 100 * np.atleast_2d(np.asarray(accuracies, dtype=float))  # (seed, epoch)
        epochs = np.arange(1, percent.shape[1] + 1)
        _add_band(figure, epochs, percent, arm)
        mean, name = percent.mean(0), ARM_NAMES.get(arm, arm)
        line = _STYLE.get(arm, {"width": 3})
        marks = {"mode": "lines+markers", "line": line, "marker": {"size": 7}}
        figure.add_trace(go.Scatter(x=epochs, y=mean, name=name, **marks))
        words.append(f"{name} {mean[0]:.1f} after the first epoch, {mean[-1]:.1f} after the last")
    seeds = len(np.atleast_2d(next(iter(curves.values()))))
    figure.update_xaxes(
        title="epoch", dtick=max(1, len(epochs) // 10), range=[0.8, len(epochs) + 0.2]
    )
    figure.update_yaxes(title="validation accuracy, %")
    over = "one seed" if seeds == 1 else f"mean of {seeds} seeds, band from worst to best"
    alt = f"Validation accuracy in percent by epoch, {over}: {'; '.join(words)}."
    return _finish(figure, title, f"{source} · {over}", alt, height=430, below=76)


def _add_band(figure, epochs, percent, arm):
    if len(percent) < 2:
        return
    edge = np.concatenate([percent.max(0), percent.min(0)[::-1]])
    around = np.concatenate([epochs, epochs[::-1]])
    colour = _STYLE.get(arm, {}).get("color", "#5f5f5f")
    fill = {"fill": "toself", "fillcolor": colour, "opacity": 0.15}
    hidden = {"line": {"width": 0}, "showlegend": False, "hoverinfo": "skip", "mode": "lines"}
    figure.add_trace(go.Scatter(x=around, y=edge, **fill, **hidden))


def intervals(rows, *, title, source):
    """Differences in percentage points with their 95 % intervals, one below the other, and zero.

    rows: label → Summary of fractions (`evidence.contrast`). A mark is filled where the interval
    leaves zero out. Raises ValueError for no rows.
    """
    if not rows:
        raise ValueError("no differences were given; at least one is needed")
    figure, words = go.Figure(), []
    for label, (mean, _, n, low, high) in rows.items():
        mean, low, high = 100 * mean, 100 * low, 100 * high
        clear = low > 0 or high < 0
        bar = {"type": "data", "array": [high - mean], "arrayminus": [mean - low], "width": 6}
        mark = {"size": 11, "symbol": "circle" if clear else "circle-open", "line": {"width": 2}}
        where = {"x": [mean], "y": [label], "mode": "markers", "showlegend": False}
        colour = "#0072B2" if clear else "#5f5f5f"
        figure.add_trace(go.Scatter(**where, error_x=bar, marker={**mark, "color": colour}))
        at, start, end = (f"{x:+.{decimals(low, high)}f}" for x in (mean, low, high))
        words.append(f"{label} {at} from {start} to {end}, {n} seeds")
    figure.add_vline(x=0, line={"width": 1, "color": "#222222"})
    figure.update_xaxes(title="difference, percentage points")
    figure.update_yaxes(autorange="reversed", automargin=True)
    alt = f"Differences in percentage points with 95 % intervals: {'; '.join(words)}."
    figure = _finish(figure, title, source, alt, height=170 + 42 * len(rows), below=76)
    # Long labels push the axis to the right; title and caption stay at the left edge.
    left = max(64, 12 + 7 * max(map(len, rows)))
    figure.layout.annotations[-1].xshift = 64 - left
    return figure.update_layout(margin_l=left, title={"xref": "container", "pad": {"l": 64}})


def product_panels(products, *, title, source, limit=None):
    """Square matrices side by side on one colour range, zero in white, positive red, negative blue.

    products: name of a panel → array (dim, dim). limit: the end of the range, by default the
    largest entry off the diagonals, twice: a diagonal stands out and does not hide the rest.
    """
    names = {name: ARM_NAMES.get(name, name) for name in products}
    matrices = {names[key]: np.asarray(matrix, np.float32) for key, matrix in products.items()}
    if limit is None:
        off = [np.abs(m[~np.eye(len(m), dtype=bool)]).max() for m in matrices.values()]
        limit = 2 * max(off) or 1.0
    figure = make_subplots(1, len(matrices), subplot_titles=list(matrices), horizontal_spacing=0.03)
    words = []
    for column, (name, matrix) in enumerate(matrices.items(), start=1):
        heat = go.Heatmap(z=matrix, coloraxis="coloraxis", hovertemplate="%{y}, %{x}: %{z:.2f}")
        figure.add_trace(heat, 1, column)
        words.append(f"{name} {matrix.diagonal().mean():+.2f}")
        figure.update_xaxes(
            visible=False, scaleanchor=f"y{column if column > 1 else ''}", col=column
        )
    # In a narrow window the squares are lower than their room: they stay below their titles.
    figure.update_yaxes(visible=False, autorange="reversed", constraintoward="top")
    scale = {"colorscale": SIGNED, "cmin": -limit, "cmax": limit}
    figure.update_layout(coloraxis={**scale, "colorbar": {"thickness": 12, "len": 0.8}})
    size = len(next(iter(matrices.values())))
    alt = f"Heat maps of {size} × {size} matrices; mean of each diagonal: {', '.join(words)}."
    return _finish(figure, title, source, alt, height=330, below=32)


def line_plot(lines, *, title, source, x, y, marks=None):
    """Lines over numbers, no two with the same colour and dash.

    lines: name → (x values, y values); one named after an arm, as "plain" or "plain, step 0", looks
    as that arm does in `training_curves`, and a second of the arm has its colour in another dash.
    x, y: the titles of the axes. marks: name → where on the x axis a dashed vertical line stands.
    Raises ValueError for more lines than there are styles.
    """
    if len(lines) > len(_COLOURS):
        raise ValueError(f"{len(lines)} lines; at most {len(_COLOURS)} can be told apart")
    figure, words, styles = go.Figure(), [], _line_styles(lines)
    for key, (places, values) in lines.items():
        places, values = (np.asarray(each, float) for each in (places, values))
        mode, name = "lines+markers" if len(values) <= 24 else "lines", ARM_NAMES.get(key, key)
        drawn = {"name": name, "mode": mode, "line": styles[key]}
        figure.add_trace(go.Scatter(x=places, y=values.round(4), **drawn))
        ends = f"{values[0]:.2f} at {places[0]:g}, {values[-1]:.2f} at {places[-1]:g}"
        words.append(f"{name}: {ends}, between {values.min():.2f} and {values.max():.2f}")
    for name, place in (marks or {}).items():
        style = {"dash": "dash", "color": "#5f5f5f"}
        figure.add_vline(place, line=style, annotation_text=f" {name}")
        words.append(f"{name} is marked at {place:g}")
    figure.update_xaxes(title=x, dtick=_whole_steps(figure))
    figure.update_yaxes(title=y)
    alt = f"{y} against {x}. {'; '.join(words)}."
    return _finish(figure, title, source, alt, height=400, below=76)


def _line_styles(names):
    """Name → style: an arm's colour for its first two lines, else the next that is free."""
    arms = {**{arm: arm for arm in ARM_NAMES}, **{name: arm for arm, name in ARM_NAMES.items()}}
    styles, seen = {}, []
    for name in sorted(names):  # "plain" before "plain, trained", wherever they stand
        arm = arms.get(name.split(",")[0])
        if arm and seen.count(arm) < 2:
            styles[name] = _again(_STYLE[arm]) if arm in seen else _STYLE[arm]
            seen.append(arm)
    taken = {style["color"] for style in styles.values()}
    free = (
        {"color": colour, "dash": dash, "width": 3}
        for colour, dash in zip(_LINE_COLOURS, _DASHES[3:] + _DASHES[:3], strict=True)
        if colour not in taken
    )
    return {name: styles.get(name) or next(free) for name in names}


def _again(style):
    return {**style, "dash": "dot" if style["dash"] == "dash" else "dash"}


def _whole_steps(figure):
    """1 where few whole numbers stand on the x axis, as layers do: there is no layer 1.5."""
    places = np.concatenate([trace.x for trace in figure.data])
    few = np.ptp(places) <= 12 and (places == places.round()).all() and np.ptp(places) > 0
    return 1 if few else None


def image_grid(images, labels, classes, *, title, source, each=10):
    """The first `each` images of every class, a row for each class, enlarged without smoothing.

    images: uint8 array (image, 3, height, width); labels: (image,).
    """
    images, labels = np.asarray(images), np.asarray(labels)
    rows = [images[labels == label][:each] for label in range(len(classes))]
    columns = min(len(row) for row in rows)
    gap = ((0, 0), (0, 0), (1, 1), (1, 1))
    grid = [np.concatenate(np.pad(row[:columns], gap, constant_values=255), axis=2) for row in rows]
    picture = np.concatenate(grid, axis=1).transpose(1, 2, 0)  # (height, width, 3)
    figure = go.Figure(go.Image(source=picture_png(picture), zsmooth=False, hoverinfo="skip"))
    height = picture.shape[0] / len(classes)
    ticks = [height * (row + 0.5) for row in range(len(classes))]
    figure.update_yaxes(tickvals=ticks, ticktext=list(classes), showgrid=False, zeroline=False)
    figure.update_xaxes(visible=False)
    alt = f"{columns} images of each of {len(classes)} classes, in rows: {', '.join(classes)}."
    # 590 pixels are what plotly's smallest width, 700, leaves beside the names of the classes.
    across = min(590, 2 * picture.shape[1])
    height = across * picture.shape[0] / picture.shape[1]
    return _finish(figure, title, source, alt, height=round(height) + 118, below=32)


def alt_text(figure):
    """What the figure shows, in words."""
    return figure.layout.meta["alt"]


def show(figure):
    """Displays the figure in a notebook, with its words folded below for those who can't see it.

    Plotly's default would put its whole library, 4 MB, into the notebook; JupyterLab and VS Code
    have it already. $PLOTLY_RENDERER changes that, as "plotly_mimetype+png" to keep a picture too.
    Python in a terminal can't show it, and prints the words.
    """
    import os
    from html import escape

    import plotly.io
    from IPython import get_ipython
    from IPython.display import HTML, display

    if get_ipython() is None and not os.environ.get("PLOTLY_RENDERER"):
        return print(alt_text(figure))
    default = plotly.io.renderers.default
    figure.show(
        os.environ.get("PLOTLY_RENDERER") or (default if default == "colab" else "plotly_mimetype"),
        width=figure.layout.meta.get("picture_width"),  # of a picture alone; a page sets its own
    )
    display(HTML(f"<details><summary>In words</summary>{escape(alt_text(figure))}</details>"))


def page(figures, *, title, table):
    """One self-contained HTML page: a text table and the figures, each with its words below."""
    from html import escape

    parts = [
        f'<div role="img" aria-label="{escape(alt_text(figure))}">'
        f"{figure.to_html(full_html=False, include_plotlyjs=not number, auto_play=False)}</div>"
        f"<p>{escape(alt_text(figure))}</p>"
        for number, figure in enumerate(figures)
    ]
    style = "body{font:16px system-ui;max-width:62rem;margin:2rem auto;padding:0 1rem}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{style}</style><h1>{escape(title)}</h1><pre>{escape(table)}</pre>"
        f"{''.join(parts)}</html>"
    )


def _finish(figure, title, source, alt, *, height, below):
    """The theme, the words, and `below` the axes (pixels) the caption that every figure has."""
    lines = [line for part in source.split("<br>") for line in wrap(part, CAPTION, **_WHOLE)]
    more = 15 * (len(lines) - 1)  # pixels for what does not fit on the first line
    caption = {
        "text": "<br>".join(lines),
        "align": "left",
        "xref": "paper",
        "yref": "paper",
        "x": 0,
        "y": 0,
        "yshift": -below - more,
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": 12, "color": "#5f5f5f"},
    }
    figure.add_annotation(caption)
    figure.update_layout(
        template="plotly_white",
        paper_bgcolor="white",
        plot_bgcolor="white",
        title={"text": title, "x": 0, "xref": "paper", "font": {"size": 18}},
        font={"size": 14, "color": "#222222"},
        legend={"orientation": "v"},
        margin={"l": 64, "r": 24, "t": 72, "b": below + 14 + more},
        height=height + more,
        meta={"alt": alt},
    )
    return figure
