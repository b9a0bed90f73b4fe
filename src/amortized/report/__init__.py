"""Pictures and tables of what a model makes."""

from amortized.report.calibration_figure import calibration_figure
from amortized.report.figures import posterior_figure
from amortized.report.grid import image_grid, stacked, write_images
from amortized.report.output import check_suffix, write_records, write_table

__all__ = [
    "calibration_figure",
    "check_suffix",
    "image_grid",
    "posterior_figure",
    "stacked",
    "write_images",
    "write_records",
    "write_table",
]
