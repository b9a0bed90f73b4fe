"""How good the model and its inference are, with uncertainty."""

from amortized.evaluation.evidence import Evidence, evaluate
from amortized.evaluation.gaps import Gaps, gaps
from amortized.evaluation.joint import Joint
from amortized.evaluation.records import Finding, LogPx, Metric

__all__ = ["Evidence", "Finding", "Gaps", "Joint", "LogPx", "Metric", "evaluate", "gaps"]
