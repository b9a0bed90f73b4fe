"""How good the model and its inference are, with uncertainty."""

from amortized.evaluation.clustering import Clusters, clusters
from amortized.evaluation.disentanglement import Disentanglement, disentanglement
from amortized.evaluation.evidence import Evidence, evaluate
from amortized.evaluation.factors import FactorTable
from amortized.evaluation.joint import Joint
from amortized.evaluation.probes import Probes, probes
from amortized.evaluation.records import Finding, LogPx, Metric
from amortized.evaluation.representations import Representations, representations

__all__ = [
    "Clusters",
    "Disentanglement",
    "Evidence",
    "FactorTable",
    "Finding",
    "Joint",
    "LogPx",
    "Metric",
    "Probes",
    "Representations",
    "clusters",
    "disentanglement",
    "evaluate",
    "probes",
    "representations",
]
