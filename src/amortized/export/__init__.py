"""What leaves the library: a fitted model as ONNX graphs, as `torch.export` programs, or as a page that explores it by itself."""

from amortized.export.exported import Exported
from amortized.export.exporting import export

__all__ = ["Exported", "export"]
