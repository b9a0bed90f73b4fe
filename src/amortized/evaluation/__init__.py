"""How good the model and its inference are, with uncertainty."""

from amortized.evaluation.evidence import Evidence, evaluate
from amortized.evaluation.gaps import Gaps, gaps
from amortized.evaluation.joint import Joint
from amortized.evaluation.records import Finding, LogPx, Metric
from amortized.evaluation.splits import SplitGaps, gaps_by_split

__all__ = ["Evidence", "Finding", "Gaps", "Joint", "LogPx", "Metric", "SplitGaps", "evaluate", "gaps", "gaps_by_split"]
