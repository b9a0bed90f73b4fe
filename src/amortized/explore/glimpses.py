"""What a model in training makes now of a few validation data, and of the prior: always the same data and the same noise.

Between two glimpses only the weights differ. Making one leaves no trace on the training: not on torch's random state, nor on the
model, which is held in evaluation mode meanwhile.
"""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from amortized import tasks
from amortized.models import Model
from amortized.models.model import device_of
from amortized.recipes import Spec
from amortized.report.grid import as_pixels, limits
from amortized.terms import Batch
from amortized.training.validation import Batches

IMAGES = 10
ROWS = 4
COLUMNS = 8
SIDE = 96
"""Pixels of an image, along its longer side, that a page is sent at most."""


class Glimpses:
    """Makes the pictures of a model in training.

    Args:
        model: The model, whatever its weights are now.
        spec: What is known of its data.
        valid: The validation data; None where there are none.
        seed: Of the noise.
    """

    def __init__(self, model: Model, spec: Spec, valid: Batches | None, seed: int):
        self.model, self.spec, self.valid, self.seed = model, spec, valid, seed
        self._batch: Batch | None = None
        self._refused = ""

    def make(self) -> Mapping[str, Any]:
        """The data, what the model makes of them, and samples, as a page takes them; or why there are none.

        Whatever fails here does not end the training: the sentence takes the place of the pictures, for good.
        """
        if self._refused:
            return {"kind": "none", "why": self._refused}
        try:
            return self._shown()
        except Exception as error:
            self._refused = " ".join(str(error).split())[:300] or type(error).__name__
            return {"kind": "none", "why": self._refused}

    def _shown(self) -> Mapping[str, Any]:
        count = IMAGES if self.spec.is_image else ROWS
        layers: dict[str, NDArray[Any]] = {}
        context: Mapping[str, torch.Tensor] = {}
        if self.valid is not None:
            batch = self._data(self.valid, count)
            count, context = len(batch), batch.context
            x = batch.x.cpu().numpy().astype(np.float64)
            layers["data"] = x if batch.observed is None else np.where(batch.observed.cpu().numpy(), x, np.nan)
            layers["made"] = tasks.reconstruct(self.model, batch, seed=self.seed).numpy()
        elif self.spec.conditions:
            context = self.spec.draw_conditions(count, {}, torch.Generator().manual_seed(self.seed))
        layers["samples"] = tasks.sample(self.model, count, context=context, mean=True, seed=self.seed).numpy()
        made = self._images(layers) if self.spec.is_image else self._table(layers)
        return made | {"conditions": list(self.spec.conditions)}

    def _data(self, valid: Batches, count: int) -> Batch:
        """The first of the validation data, read once."""
        if self._batch is None:
            assert isinstance(self.model, nn.Module)
            weight = next(self.model.parameters(), torch.zeros(()))
            with torch.random.fork_rng(devices=[]):  # a DataLoader draws from torch's own
                fields = next(iter(valid.epoch(0)))
            self._batch = Batch(**fields).rows(slice(count)).to(device_of(self.model), weight.dtype)
        return self._batch

    def _images(self, layers: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        values = layers.get("data", layers["samples"])  # whose ends stay the same
        ends = limits(self.spec) or {"low": float(np.nanmin(values)), "high": float(np.nanmax(values))}
        stride = -(-max(self.spec.event_shape[:2]) // SIDE)
        drawn = {name: as_pixels(images[:, ::stride, ::stride], **ends)[0] for name, images in layers.items()}
        (_, height, width, _), channels = drawn["samples"].shape, max(layer.shape[3] for layer in drawn.values())
        full = {name: np.repeat(layer, channels // layer.shape[3], axis=3) for name, layer in drawn.items()}
        coded = {name: base64.b64encode(layer.tobytes()).decode() for name, layer in full.items()}
        return {"kind": "images", "count": len(full["samples"]), "shape": [height, width, channels], **coded}

    def _table(self, layers: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        flat = {name: layer.reshape(len(layer), -1) for name, layer in layers.items()}
        width = flat["samples"].shape[1]
        names = self.spec.columns if len(self.spec.columns) == width else tuple(map(str, range(width)))
        spread = np.nan_to_num(np.nanstd(flat.get("data", flat["samples"]), 0)) if width > COLUMNS else np.zeros(width)
        chosen = np.sort(np.argsort(-spread, kind="stable")[:COLUMNS])
        tables = {name: layer[:, chosen].astype(float).tolist() for name, layer in flat.items()}
        return {"kind": "rows", "columns": [names[column] for column in chosen], "width": width, **tables}
