"""The verbs of a finished run and its model: evaluate, predict, export, push, report, compare, convert."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiseg.cli.options import Parser, write_json
from semiseg.errors import ConfigError, DataError, some

if TYPE_CHECKING:
    from semiseg.api import ModelEvaluation
    from semiseg.data import DataConfig

_MODEL = "a run directory, the model directory in it, or hf:OWNER/NAME of the hub"
_IMAGES = "an image, a folder, or a list (.txt, a path a line); of pairs a folder with A/ and B/ will do"


def evaluate_verb(words: list[str]) -> None:
    """Evaluate a saved model."""
    from semiseg.api import evaluate
    from semiseg.cli.progress import shown_progress

    parser = Parser("evaluate", "Evaluate a saved model as training does.")
    parser.add_argument("model", type=Path, help=_MODEL)
    _add_data(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    _add_precision(parser)
    parser.add_argument("--protocol", choices=("original", "sliding"), help="default: as in training")
    parser.add_argument("--tile", type=int, help="longest side seen in one piece; default: as in training")
    _add_views(parser)
    options = parser.parse_args(words)
    data = _data(vars(options))
    how = {"precision": options.precision, "protocol": options.protocol, "tile": options.tile}
    how |= {"scales": options.scales, "flip": options.flip}
    with shown_progress("images") as progress:
        found = evaluate(options.model, data, device=options.device, progress=progress, **how)
    _print_evaluation(found)
    iou = dict(zip(found.classes, found.iou_K.tolist(), strict=True))
    figures = {**found.scores, "miou_present": found.miou_present, "absent": found.absent, "iou": iou}
    about = {"images": found.images, "list": found.origin, "trained_on": found.trained_on, "notes": found.notes}
    write_json(options.json, {**figures, "confusion": found.confusion_KK.tolist(), **about})


def _add_data(parser: Parser) -> None:
    """Add the options of the data to evaluate on."""
    parser.add_argument("--data.root", help="data folder; default: that of the model's run. The next four need it")
    parser.add_argument("--data.spec", help="name of a data set the package knows")
    parser.add_argument("--data.val", help="list of images and masks")
    parser.add_argument("--data.max_pixels", type=int, help="largest image that is opened, in pixels")
    help_ = "true: also score against masks that `semiseg predict` wrote"
    parser.add_argument("--data.accept_predicted", type=lambda word: word == "true", metavar="true|false", help=help_)


def _data(options: dict[str, Any]) -> DataConfig | None:
    """Return the data that the options name, None if they name none."""
    from semiseg.data import DataConfig

    named = {key.partition(".")[2]: value for key, value in options.items() if key.startswith("data.")}
    given = {key: value for key, value in named.items() if value is not None}
    if given and "root" not in given:
        raise ConfigError(f"--data.{min(given)} needs --data.root", remedy="name the data folder too")
    return DataConfig(**given) if given else None


def _print_evaluation(found: ModelEvaluation) -> None:
    """Say what was evaluated on, and give the figures of each class and of all."""
    from semiseg.data.spec import SCORE_NAMES

    print(f"{found.images:,} images: {found.origin}")
    if found.trained_on:
        print(
            f"{len(found.trained_on):,} of them were trained on and make the figures too good: {some(found.trained_on)}"
        )
    for note in found.notes:
        print(note)
    scores = {SCORE_NAMES.get(name, name.replace("_", " ")): value for name, value in found.scores.items()}
    width = max(map(len, (*found.classes, *scores)))
    for name, value in zip(found.classes, found.iou_K, strict=True):
        print(f"{name:{width}}  {value:7.2%}{'  in no val mask' if name in found.absent else ''}")
    for name, value in scores.items():
        print(f"{name:{width}}  {value:7.2%}")
    if found.absence:
        print(found.absence)


def _add_precision(parser: Parser) -> None:
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"), help="auto: as in training")


def _add_views(parser: Parser) -> None:
    help_ = "factors of size at which each image is seen, such as 0.75 1 1.25; the mean of the probabilities counts"
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0], metavar="S", help=help_)
    parser.add_argument("--flip", action="store_true", help="see each image mirrored too")


def predict_verb(words: list[str]) -> None:
    """Write masks for images."""
    from semiseg.cli.progress import shown_progress
    from semiseg.data.reading import MAX_PIXELS
    from semiseg.prediction import predict

    parser = Parser("predict", "Write a mask for each image; finished ones are skipped, so it can be interrupted.")
    parser.add_argument("model", type=Path, help=_MODEL)
    parser.add_argument("images", type=Path, help=_IMAGES)
    parser.add_argument("--second", type=Path, help="of pairs: the later image, or a folder with the same names")
    parser.add_argument("--out", type=Path, required=True, help="where the masks go, in the folders of the images")
    parser.add_argument("--tile", type=int, help="longest side seen in one piece; default: as in evaluation")
    _add_views(parser)
    parser.add_argument("--max-pixels", type=int, default=MAX_PIXELS, help="largest image that is opened, in pixels")
    parser.add_argument("--overlays", action="store_true", help="also write the image tinted with its mask")
    parser.add_argument("--probabilities", action="store_true", help="also write those of the classes, as .npz")
    parser.add_argument("--overwrite", action="store_true", help="write masks again that exist")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    _add_precision(parser)
    options = parser.parse_args(words)
    with shown_progress("images") as progress:
        summary = predict(
            options.model,
            options.images,
            options.out,
            second=options.second,
            tile=options.tile,
            scales=options.scales,
            flip=options.flip,
            max_pixels=options.max_pixels,
            overlays=options.overlays,
            probabilities=options.probabilities,
            overwrite=options.overwrite,
            device=options.device,
            precision=options.precision,
            progress=progress,
        )
    print(f"{summary.images} masks written to {options.out}, {summary.images_per_second:.2f} images/s", end="")
    print(f"; {summary.skipped} existed" if summary.skipped else "")
    if summary.georeferences_lost:
        print(f"{summary.georeferences_lost} GeoTIFFs lost their georeference; pip install 'semiseg[geo]' keeps it")
    left_out = {str(path): reason for path, reason in summary.unreadable}
    facts = {"images": summary.images, "skipped": summary.skipped, "seconds": summary.seconds, "unreadable": left_out}
    unpaired = [str(path) for path in summary.unpaired]
    write_json(options.json, {**facts, "unpaired": unpaired, "georeferences_lost": summary.georeferences_lost})
    left_out |= dict.fromkeys(unpaired, "has no partner of its name")
    if left_out:
        raise DataError(
            f"{len(left_out)} images could not be used; the masks of all others are written",
            where="\n            ".join(f"{path}: {reason}" for path, reason in left_out.items()),
            remedy="replace or add these files and run the same command again",
        )


def export_verb(words: list[str]) -> None:
    """Write a model as one file."""
    from semiseg.cli.progress import shown_progress
    from semiseg.exporting import export

    parser = Parser("export", "Write a model as ONNX (or torch.export), and hold it against the model.")
    parser.add_argument("model", type=Path, help=_MODEL)
    parser.add_argument("--out", type=Path, required=True, help="FILE.onnx, or FILE.pt2 of torch.export")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "fp16", "int8"), help="of an ONNX file")
    help_ = "height and width of all pictures it will see; default: any"
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help=help_)
    parser.add_argument("--check", type=Path, help=f"pictures to check it on: {_IMAGES}; default: the run's val images")
    parser.add_argument("--images", type=int, default=100, help="val images to judge it by, at most; default 100")
    _add_data(parser)
    options = parser.parse_args(words)
    with shown_progress("images") as progress:
        found = export(
            options.model,
            options.out,
            precision=options.precision,
            size=tuple(options.size) if options.size else None,
            check=options.check,
            data=_data(vars(options)),
            images=options.images,
            progress=progress,
        )
    for line in found.lines():
        print(line)
    write_json(options.json, asdict(found) | {"path": str(found.path)})


def push_verb(words: list[str]) -> None:
    """Send a model to the hub."""
    from semiseg.models import load_model

    parser = Parser("push", "Send a model to the Hugging Face hub: its weights, its configuration and a page about it.")
    parser.add_argument("model", type=Path, help=_MODEL)
    parser.add_argument("repo", help="OWNER/NAME; made if need be")
    parser.add_argument("--private", action="store_true", help="a new repository is for you alone")
    parser.add_argument("--license", help="of the model, as the hub names it, such as apache-2.0")
    parser.add_argument("--message", default="Upload a model of semiseg", help="of the commit")
    options = parser.parse_args(words)
    segmenter, _ = load_model(options.model)
    url = segmenter.push_to_hub(
        options.repo, private=options.private or None, license=options.license, message=options.message
    )
    print(f"{url}\nuse it: semiseg predict hf:{options.repo} IMAGES --out masks")
    write_json(options.json, {"commit": url, "model": f"hf:{options.repo}"})


def report_verb(words: list[str]) -> None:
    """Write the report of a run."""
    from semiseg.reporting import report

    parser = Parser("report", "Write the report of a run.")
    parser.add_argument("run", type=Path, help="a run directory")
    options = parser.parse_args(words)
    page = report(options.run)
    print(page)
    write_json(options.json, {"report": str(page)})


def compare_verb(words: list[str]) -> None:
    """Compare runs."""
    from semiseg.reporting.comparison import compare, lines

    parser = Parser("compare", "Hold runs against each other on one page; those that differ by their seed are one.")
    parser.add_argument("runs", type=Path, nargs="+", help="run directories; the others are held against the first")
    parser.add_argument("--out", type=Path, help="a folder or FILE.html; default: compare.html beside the first run")
    parser.add_argument("--device", default="auto", help="where the models predict: auto, cpu, cuda or cuda:N")
    options = parser.parse_args(words)
    found = compare(options.runs, options.out, device=options.device)
    for line in lines(found):
        print(line)
    write_json(options.json, found.as_json())


def convert_verb(words: list[str]) -> None:
    """Turn a published checkpoint into a model, or back."""
    from semiseg.conversion import convert

    parser = Parser("convert", "Turn a checkpoint of the published UniMatch V2 into a model directory, or back.")
    parser.add_argument("source", type=Path, help="a published .pth, or a model directory or run")
    parser.add_argument("out", type=Path, help="the model directory to write, or a .pth for the published layout")
    parser.add_argument("--data.spec", dest="spec", help="data set that names the classes; default: by their number")
    parser.add_argument("--frames", type=int, choices=(1, 2), help="2 for change detection; default: by the data set")
    parser.add_argument("--part", choices=("teacher", "student"), help="default: the teacher where there is one")
    options = parser.parse_args(words)
    converted = convert(options.source, options.out, spec=options.spec, frames=options.frames, part=options.part)
    print(converted)
    facts = {"out": str(converted.path), "part": converted.part, "encoder": converted.encoder}
    write_json(
        options.json, facts | {"classes": converted.classes, "frames": converted.frames, "notes": converted.notes}
    )
