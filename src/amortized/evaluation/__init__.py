"""How good the model and its inference are, with uncertainty."""

from amortized.evaluation.annealing import Annealing, annealed
from amortized.evaluation.bidirectional import Bidirectional, bidirectional
from amortized.evaluation.evidence import Evidence, evaluate
from amortized.evaluation.joint import Joint
from amortized.evaluation.records import Finding, LogPx, Metric

__all__ = [
    "Annealing",
    "Bidirectional",
    "Evidence",
    "Finding",
    "Joint",
    "LogPx",
    "Metric",
    "annealed",
    "bidirectional",
    "evaluate",
]
