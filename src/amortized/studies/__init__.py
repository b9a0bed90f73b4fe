"""What is asked of whole runs: an evaluation within a budget, and comparisons."""

from amortized.studies.analyses import ANALYSES
from amortized.studies.comparison import Comparison, compare
from amortized.studies.evaluation import Evaluation, Show, evaluate_run

__all__ = ["ANALYSES", "Comparison", "Evaluation", "Show", "compare", "evaluate_run"]
