"""Pictures, tables and pages of what a model makes."""

from amortized.report.calibration_figure import calibration_figure
from amortized.report.evidence_figure import evidence_figure
from amortized.report.figures import posterior_figure
from amortized.report.gap_figure import gap_figure
from amortized.report.grid import image_grid, limits, stacked, write_images
from amortized.report.interpolation_figure import interpolation_figure
from amortized.report.kl_figure import kl_figure
from amortized.report.latent_figure import latent_figure
from amortized.report.learning_figure import learning_figure
from amortized.report.marginals import Marginals, marginals
from amortized.report.marginals_figure import marginals_figure
from amortized.report.neighbors import Neighbors, neighbors
from amortized.report.neighbors_figure import neighbors_figure
from amortized.report.output import check_suffix, write_records, write_table
from amortized.report.page import write_report
from amortized.report.rate_distortion_figure import rate_distortion_figure
from amortized.report.reconstruction_figure import reconstruction_figure
from amortized.report.samples_figure import samples_figure
from amortized.report.traversal_figure import traversal_figure
from amortized.report.worst_figure import Worst, worst, worst_figure

__all__ = [
    "Marginals",
    "Neighbors",
    "Worst",
    "calibration_figure",
    "check_suffix",
    "evidence_figure",
    "gap_figure",
    "image_grid",
    "interpolation_figure",
    "kl_figure",
    "latent_figure",
    "learning_figure",
    "limits",
    "marginals",
    "marginals_figure",
    "neighbors",
    "neighbors_figure",
    "posterior_figure",
    "rate_distortion_figure",
    "reconstruction_figure",
    "samples_figure",
    "stacked",
    "traversal_figure",
    "worst",
    "worst_figure",
    "write_images",
    "write_records",
    "write_report",
    "write_table",
]
