"""Exported files beside their models on real pictures: differences, what the model is judged by, and time.

    python benchmarks/onnx_files.py runs/cam --data CAMVID
    python benchmarks/onnx_files.py runs/lite0 runs/dinov2 --data CAMVID --images 25 --precision fp32 int8

prints a row of docs/export.md for each run and precision. `--encoder NAME` takes a network that nobody has trained
instead of a run: its figures are of no use as masks, its differences and times are those of any network of this shape.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from semiseg.data import DataConfig
from semiseg.data.spec import read_spec, shipped_specs
from semiseg.exporting import Exported, export
from semiseg.models import ModelCard, ModelConfig, build_segmenter, save_model

HEAD = (
    "| model | file | size | largest difference of a logit | pixels whose class differs | model, file | "
    "torch, onnxruntime |\n|---|---|---|---|---|---|---|"
)


def main() -> None:
    """Print a row for each model and precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="*", help="run directories")
    parser.add_argument("--encoder", nargs="+", default=[], help="of networks that are not trained")
    parser.add_argument("--weights", default="random", help="of these encoders, as --model.weights")
    parser.add_argument("--data", required=True, help="folder of CamVid")
    parser.add_argument("--precision", nargs="+", default=["fp32"], choices=("fp32", "fp16", "int8"))
    parser.add_argument("--images", type=int, default=25, help="val images that are judged, at most")
    options = parser.parse_args()
    data = DataConfig(root=options.data, spec="camvid")
    print(HEAD, flush=True)
    with TemporaryDirectory() as folder:
        for name, model in models(options, Path(folder)):
            for precision in options.precision:
                out = Path(folder) / f"{precision}.onnx"
                found = export(model, out, precision=precision, data=data, images=options.images)
                print(row(name, found), flush=True)


def models(options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield a name and a model directory for each run and each encoder."""
    for run in options.runs:
        yield run.name, run
    spec = read_spec(shipped_specs()["camvid"])
    for encoder in options.encoder:
        config = ModelConfig(encoder=encoder, weights=options.weights)
        card = ModelCard(classes=spec.classes, palette=spec.palette, crop=322, model=config)
        save_model(folder / encoder, build_segmenter(config, spec.num_classes), card)
        yield f"{encoder}, not trained", folder / encoder


def row(name: str, found: Exported) -> str:
    """Return a row of the table."""
    held, judged = found.comparison, found.judgement
    figures = f"{judged.model:.2%}, {judged.exported:.2%}" if judged else ""
    return (
        f"| {name} | {found.precision} | {found.bytes / 1e6:.1f} MB | {held.largest_difference:.2g} | "
        f"{held.classes_differ:.4%} | {figures} | {held.torch_ms:.0f} ms, {held.exported_ms:.0f} ms |"
    )


if __name__ == "__main__":
    main()
