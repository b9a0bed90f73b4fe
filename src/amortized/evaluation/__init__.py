"""How good the model and its inference are, with uncertainty."""

from amortized.evaluation.calibration import Calibration, calibration
from amortized.evaluation.evidence import Evidence, evaluate
from amortized.evaluation.joint import Joint
from amortized.evaluation.records import Finding, LogPx, Metric

__all__ = ["Calibration", "Evidence", "Finding", "Joint", "LogPx", "Metric", "calibration", "evaluate"]
