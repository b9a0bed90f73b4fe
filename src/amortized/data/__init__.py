"""Data: from what a user has to batches. Sources, splits, the judgment of the support, transforms."""

from amortized.data.batches import Batches
from amortized.data.columns import arrange
from amortized.data.moments import Moments, mean_and_scale, never_observed
from amortized.data.record import Data, Rows, Split, in_order, sample_rows
from amortized.data.sources import is_same, load, read_array
from amortized.data.streams import LoaderBatches, to_batches
from amortized.data.support import Support, describe
from amortized.data.transforms import Corruption, Masking, Noise, SaltPepper, Transform, make_transform
from amortized.data.windows import StreamedSplit

__all__ = [
    "Batches",
    "Corruption",
    "Data",
    "LoaderBatches",
    "Masking",
    "Moments",
    "Noise",
    "Rows",
    "SaltPepper",
    "Split",
    "StreamedSplit",
    "Support",
    "Transform",
    "arrange",
    "describe",
    "in_order",
    "is_same",
    "load",
    "make_transform",
    "mean_and_scale",
    "never_observed",
    "read_array",
    "sample_rows",
    "to_batches",
]
