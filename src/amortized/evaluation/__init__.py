"""How good the model and its inference are, with uncertainty."""

from amortized.evaluation.evidence import Evidence, evaluate
from amortized.evaluation.features import FeatureSpace, feature_space
from amortized.evaluation.interpolation import Smoothness, smoothness
from amortized.evaluation.joint import Joint
from amortized.evaluation.records import Finding, LogPx, Metric
from amortized.evaluation.sample_quality import SampleQuality, sample_quality

__all__ = [
    "Evidence",
    "FeatureSpace",
    "Finding",
    "Joint",
    "LogPx",
    "Metric",
    "SampleQuality",
    "Smoothness",
    "evaluate",
    "feature_space",
    "sample_quality",
    "smoothness",
]
