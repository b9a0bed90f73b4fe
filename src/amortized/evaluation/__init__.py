"""How good the model and its inference are, with uncertainty."""

from amortized.evaluation.evidence import Evidence, Metric, evaluate

__all__ = ["Evidence", "Metric", "evaluate"]
