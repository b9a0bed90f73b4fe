"""How all figures of the library look.

The colors are the eight of Okabe and Ito (2008), which people with any of the common color blindnesses tell apart, those that are
hard to see on white last; the sequence of a filled area goes from white to one hue, and so is one of lightness too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from amortized.errors import InputError

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#F0E442")


@contextmanager
def style() -> Iterator[ModuleType]:
    """Matplotlib, set up for a figure; its settings are restored afterwards.

    Yields:
        The package `matplotlib`, of which `matplotlib.figure.Figure` makes figures that no window and no global state knows.

    Raises:
        InputError: Matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        import matplotlib.figure
        from cycler import cycler
    except ImportError as error:
        raise InputError("figures need matplotlib, which is not installed: pip install 'amortized[plots]'.") from error
    settings: Any = {
        "axes.prop_cycle": cycler(color=PALETTE),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": 9,
        "axes.labelsize": 9,
        "figure.dpi": 120,
        "font.size": 9,
        "image.cmap": "Blues",
        "legend.frameon": False,
        "lines.linewidth": 1.5,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
    }
    with mpl.rc_context(settings):
        yield mpl
