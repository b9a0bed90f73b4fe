"""The explorer: a fitted model held in one's hands, as answers to a page's questions, and the server of that page."""

from amortized.explore.explorer import Explorer
from amortized.explore.server import make_app, serve, serving

__all__ = ["Explorer", "make_app", "serve", "serving"]
