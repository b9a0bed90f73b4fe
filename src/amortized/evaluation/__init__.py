"""How good the model and its inference are, with uncertainty."""

from amortized.evaluation.evidence import Evidence
from amortized.evaluation.importance import evaluate
from amortized.evaluation.joint import Joint
from amortized.evaluation.quadrature import Quadrature, quadrature
from amortized.evaluation.records import Finding, LogPx, Metric

__all__ = ["Evidence", "Finding", "Joint", "LogPx", "Metric", "Quadrature", "evaluate", "quadrature"]
