"""How good the model and its inference are, with uncertainty."""

from amortized.evaluation.baselines import Baselines, baselines
from amortized.evaluation.evidence import Evidence, evaluate
from amortized.evaluation.joint import Joint
from amortized.evaluation.records import Finding, LogPx, Metric

__all__ = ["Baselines", "Evidence", "Finding", "Joint", "LogPx", "Metric", "baselines", "evaluate"]
