"""Pictures and tables of what a model makes."""

from amortized.report.calibration_figure import calibration_figure
from amortized.report.evidence_figure import evidence_figure
from amortized.report.figures import posterior_figure
from amortized.report.gap_figure import gap_figure
from amortized.report.grid import image_grid, limits, stacked, write_images
from amortized.report.kl_figure import kl_figure
from amortized.report.latent_figure import latent_figure
from amortized.report.learning_figure import learning_figure
from amortized.report.output import check_suffix, write_records, write_table
from amortized.report.page import write_report
from amortized.report.rate_distortion_figure import rate_distortion_figure

__all__ = [
    "calibration_figure",
    "check_suffix",
    "evidence_figure",
    "gap_figure",
    "image_grid",
    "kl_figure",
    "latent_figure",
    "learning_figure",
    "limits",
    "posterior_figure",
    "rate_distortion_figure",
    "stacked",
    "write_images",
    "write_records",
    "write_report",
    "write_table",
]
