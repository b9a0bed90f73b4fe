"""What the tests of figures look at."""

import io

import numpy as np


def pixels(figure):
    """The picture as an array."""
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return np.asarray(Image.open(buffer))


def labels(figure):
    """The entries of the figure's legends."""
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def texts(figure):
    """All that is written in the axes."""
    return " | ".join(text.get_text() for axes in figure.axes for text in axes.texts)


def lines(axes):
    """The heights of the lines by their label."""
    return {line.get_label(): np.asarray(line.get_ydata()) for line in axes.get_lines()}
