"""scvi-tools: SCVI with its defaults (one hidden layer of 128, 10 latents, a zero-inflated negative binomial), its `train`."""

from collections.abc import Callable

import anndata
import scvi
from data import CELLS, counts


def train_counts(batch: int) -> Callable[[int], int]:
    """Whole epochs: its trainer is made for these."""
    scvi.settings.seed = 0
    cells = anndata.AnnData(counts())
    scvi.model.SCVI.setup_anndata(cells)
    model = scvi.model.SCVI(cells)

    def run(amount: int) -> int:
        model.train(max_epochs=amount, batch_size=batch, train_size=1.0, accelerator="cpu")
        return amount * CELLS

    return run
