"""Matrices and pictures as PNGs, for figures that hold pixels and not numbers."""

import functools

import numpy as np
import plotly.colors

# RdBu without its ends, which are so dark that a thin line of either looks black.
SIGNED = tuple(plotly.colors.diverging.RdBu_r[1:-1])  # from negative, blue, to positive, red


def matrix_png(values, limit, *, signed=True, levels=31, compress_level=6):
    """A matrix as the data address of a PNG: red above zero and blue below, or white to blue.

    values: (row, column). limit: where the colours end, at ±limit, or from 0 to limit where signed
    is False. levels: how many colours, odd, so that zero is white. What is not a number is white,
    and so is all of a matrix of zeros, whose limit is 0.
    """
    share = np.nan_to_num(np.asarray(values, np.float32) / (limit or 1.0))  # along the palette
    share = ((share + 1) / 2 if signed else share).clip(0, 1)
    indices = np.rint(share * (levels - 1)).astype(np.uint8)
    return picture_png(indices, _palette(signed, levels), compress_level)


@functools.cache
def _palette(signed, levels):
    """Colours from blue over white to red, or from white to blue, as [r, g, b, r, …]."""
    shares = np.linspace(0, 1, levels)
    scale = list(SIGNED) if signed else "Blues"
    colours = np.array(plotly.colors.sample_colorscale(scale, shares, colortype="tuple"))
    if signed:
        colours[levels // 2] = 1.0  # the scale's own middle is a light grey
    return [round(255 * channel) for channel in colours.ravel()]


def picture_png(picture, palette=None, compress_level=6):
    """Data address of a picture: uint8 (height, width, 3), or (height, width) with a palette."""
    import base64
    import io

    from PIL import Image

    image, buffer = Image.fromarray(picture), io.BytesIO()
    if palette:
        image.putpalette(palette)
    image.save(buffer, "png", compress_level=compress_level)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
