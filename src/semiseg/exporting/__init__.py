"""A model as one file that runs without this package: ONNX, or torch.export."""

from semiseg.exporting.export import Exported, export

__all__ = ["Exported", "export"]
