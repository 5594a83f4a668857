"""ONNX files: written from a traced graph, told about themselves, made smaller (extra `export`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from semiseg.errors import ModelError
from semiseg.exporting.graph import INPUTS, OUTPUT
from semiseg.exporting.whole_operations import translations
from semiseg.files import whole_file
from semiseg.models import ModelCard

if TYPE_CHECKING:
    from onnx import ModelProto

Arithmetic = Literal["fp32", "fp16", "int8"]
Feed = Mapping[str, NDArray[np.float32]]
"""The inputs of one pass: by name, (B, 3, H, W) float32 from 0 to 1."""

_LARGEST = 2**31 - 2**20
"""Bytes of weights that fit into one file: protobuf ends at 2 GiB."""
_QUANTIZED = ("Conv", "Gemm", "MatMul")


def require_extra() -> None:
    """Say how to install what ONNX needs, unless it is there.

    Raises:
        ModelError: it is not.
    """
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ModelError(
            f"an ONNX file needs {', '.join(missing)}, which is not installed", remedy="pip install 'semiseg[export]'"
        )


def to_onnx(program: ExportedProgram, card: ModelCard, facts: Mapping[str, Any]) -> ModelProto:
    """Return a traced graph as ONNX, with what one has to know to use it in its metadata.

    Args:
        program: from `trace`.
        card: of the model.
        facts: more for the metadata, as JSON can hold.

    Raises:
        ModelError: more weights than a file can hold.
    """
    if sum(tensor.nbytes for tensor in program.state_dict.values()) > _LARGEST:
        raise ModelError(
            "the weights do not fit into an ONNX file", expected="less than 2 GiB", remedy="name a file .pt2 instead"
        )
    names = list(INPUTS[card.frames])
    with redirect_stdout(StringIO()):  # torch prints its steps
        exported = torch.onnx.export(
            program,
            dynamo=True,
            input_names=names,
            output_names=[OUTPUT],
            custom_translation_table=translations(),
            verbose=False,
        )
    assert exported is not None
    model: ModelProto = exported.model_proto
    _name_sides(model)
    for key, value in {**about(card), **facts}.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    return model


def about(card: ModelCard) -> dict[str, Any]:
    """Return what one has to know to use a graph without this package."""
    names = INPUTS[card.frames]
    return {
        "producer": "semiseg",
        "input": f"{' and '.join(names)}: float32 RGB from 0 to 1, (batch, 3, height, width); normalised inside",
        "output": f"{OUTPUT}: float32 (batch, classes, height, width); the largest of a pixel is its class",
        "classes": list(card.classes),
        "palette": [list(colour) for colour in card.palette],
        "ignore_value": card.ignore_value,
        "bands": list(card.bands),
        "levels": [list(pair) for pair in card.levels],
        "long_side": card.long_side,
        "crop": card.crop,
        "protocol": card.protocol,
        "encoder": card.model.encoder,
        "decoder": card.model.decoder,
        "metrics": dict(card.metrics),
    }


def write_onnx(model: ModelProto, path: Path) -> None:
    """Write a model whole or not at all.

    Raises:
        FileError: it cannot be written.
    """
    content = model.SerializeToString()
    with whole_file(path) as draft:
        draft.write_bytes(content)


def to_fp16(model: ModelProto) -> ModelProto:
    """Return the model with weights and arithmetic of 16 bits; inputs and outputs stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    halved: ModelProto = convert_float_to_float16(model, keep_io_types=True)
    return halved


def to_int8(model: ModelProto, feeds: Iterable[Feed]) -> ModelProto:
    """Return the model with convolutions and matmuls in 8 bits, but for the classifier.

    Weights have a scale for each channel; the range of what flows between them is that of the pictures given.

    Args:
        model: in fp32.
        feeds: pictures to calibrate on.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is not annotated
        def __init__(self) -> None:
            self.feeds = iter(feeds)

        def get_next(self) -> Feed | None:
            return next(self.feeds, None)

    with TemporaryDirectory() as folder:
        whole, fused, small = (Path(folder) / f"{name}.onnx" for name in ("whole", "fused", "int8"))
        whole.write_bytes(model.SerializeToString())
        quant_pre_process(whole, fused, skip_symbolic_shape=True)  # folds norms into the convolutions before them
        quantize_static(
            fused,
            small,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_QUANTIZED),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_classifier(onnx.load(fused)),
        )
        quantized = onnx.load(small)
    del quantized.metadata_props[:]
    quantized.metadata_props.extend(model.metadata_props)
    return quantized


def _classifier(model: ModelProto) -> list[str]:
    """Return the name of the last convolution or matmul."""
    return [node.name for node in model.graph.node if node.op_type in _QUANTIZED][-1:]


def _name_sides(model: ModelProto) -> None:
    """Give the free sizes of inputs and outputs names that say what they are."""
    sides = {0: "batch", 2: "height", 3: "width"}
    for value in (*model.graph.input, *model.graph.output):
        for place, name in sides.items():
            side = value.type.tensor_type.shape.dim[place]
            if not side.HasField("dim_value"):
                side.dim_param = name
