"""How good the model and its inference are, with uncertainty."""

from amortized.evaluation.activity import Activity, activity
from amortized.evaluation.annealing import Annealing, annealed
from amortized.evaluation.baselines import Baselines, baselines
from amortized.evaluation.bidirectional import Bidirectional, bidirectional
from amortized.evaluation.calibration import Calibration, calibration
from amortized.evaluation.clustering import Clusters, clusters
from amortized.evaluation.disentanglement import Disentanglement, disentanglement
from amortized.evaluation.evidence import Evidence
from amortized.evaluation.factors import FactorTable
from amortized.evaluation.features import FeatureSpace, feature_space
from amortized.evaluation.gaps import Gaps, gaps
from amortized.evaluation.importance import Parts, evaluate
from amortized.evaluation.interpolation import Smoothness, smoothness
from amortized.evaluation.joint import Joint
from amortized.evaluation.probes import Probes, probes
from amortized.evaluation.quadrature import Quadrature, quadrature
from amortized.evaluation.records import Finding, LogPx, Metric
from amortized.evaluation.representations import Representations, representations
from amortized.evaluation.sample_quality import SampleQuality, sample_quality
from amortized.evaluation.splits import SplitGaps, gaps_by_split
from amortized.evaluation.surgery import Surgery, surgery

__all__ = [
    "Activity",
    "Annealing",
    "Baselines",
    "Bidirectional",
    "Calibration",
    "Clusters",
    "Disentanglement",
    "Evidence",
    "FactorTable",
    "FeatureSpace",
    "Finding",
    "Gaps",
    "Joint",
    "LogPx",
    "Metric",
    "Parts",
    "Probes",
    "Quadrature",
    "Representations",
    "SampleQuality",
    "Smoothness",
    "SplitGaps",
    "Surgery",
    "activity",
    "annealed",
    "baselines",
    "bidirectional",
    "calibration",
    "clusters",
    "disentanglement",
    "evaluate",
    "feature_space",
    "gaps",
    "gaps_by_split",
    "probes",
    "quadrature",
    "representations",
    "sample_quality",
    "smoothness",
    "surgery",
]
