"""How good the model and its inference are, with uncertainty."""

from amortized.evaluation.activity import Activity, activity
from amortized.evaluation.evidence import Evidence, evaluate
from amortized.evaluation.joint import Joint
from amortized.evaluation.records import Finding, LogPx, Metric
from amortized.evaluation.surgery import Surgery, surgery

__all__ = ["Activity", "Evidence", "Finding", "Joint", "LogPx", "Metric", "Surgery", "activity", "evaluate", "surgery"]
