"""The command line: each verb is a thin call of a public function."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from semiseg import __version__
from semiseg.errors import ConfigError, DataError, SemisegError, closest

_USAGE = f"""semiseg {__version__}: train segmentation models from few labels and many unlabeled images

  semiseg demo                          see it work on drawn scenes, in minutes, on a CPU
  semiseg train RECIPE|CONFIG|FOLDER    train; overrides as --key value (semiseg train -h)
  semiseg evaluate MODEL                mIoU of a saved model on its val images
  semiseg predict MODEL IMAGES --out DIR   masks for a file or a folder
  semiseg report RUN                    write RUN/report.html again
  semiseg recipes [NAME]                list the recipes, or print one
  semiseg doctor                        what this machine can do

Every verb has -h, and --json FILE writes its result for scripts."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0: done; 2: bad input or a file that cannot be written, with one readable message; 130: interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(_USAGE)
        return 0
    if words[0] == "--version":
        print(__version__)
        return 0
    try:
        if words[0] not in VERBS:
            raise ConfigError(f"unknown verb {words[0]!r}{closest(words[0], VERBS)}", remedy="see `semiseg -h`")
        VERBS[words[0]](words[1:])
    except SemisegError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        remedy = "check that the path exists, may be written and has room"
        where = f"\n  where:    {error.filename}" if error.filename else ""
        print(f"error: {error.strerror or error}{where}\n  remedy:   {remedy}", file=sys.stderr)
        return 2
    except SystemExit as ended:  # argparse, after -h
        return int(ended.code or 0)
    except KeyboardInterrupt:
        resumes = "; the run continues with --resume" if words[0] == "train" else ""
        print(f"interrupted{resumes}", file=sys.stderr)
        return 130
    return 0


class _Parser(argparse.ArgumentParser):
    """Raises our error instead of exiting, and takes no abbreviations."""

    def __init__(self, verb: str, description: str, **options: Any) -> None:
        super().__init__(prog=f"semiseg {verb}", description=description, allow_abbrev=False, **options)
        self.add_argument("--json", type=_json_file, metavar="FILE", help="also write the result as JSON")

    def error(self, message: str) -> Any:
        raise ConfigError(message, remedy=f"see `{self.prog} -h`")


def _json_file(name: str) -> Path:
    """Refuse a folder now, not after hours of training."""
    if Path(name).is_dir():
        raise argparse.ArgumentTypeError(f"{name} is a folder")
    return Path(name)


def _write_json(path: Path | None, content: dict[str, Any]) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _train(words: list[str]) -> None:
    from semiseg.api import recipe_config, train
    from semiseg.config import config_parser

    parser = _Parser("train", "Train a model. Any key of the configuration can follow as --key value.")
    parser.usage = "semiseg train [RECIPE|CONFIG.yaml|FOLDER] [--resume] [--json FILE] [--key value ...]"
    parser.add_argument("--resume", action="store_true", help="continue the run of this name")
    if "-h" in words or "--help" in words:
        print(parser.format_help(), config_parser().format_help().split("\n\n", 1)[1], sep="\n")
        return
    recipe = words.pop(0) if words and not words[0].startswith("-") else "default"
    known, overrides = parser.parse_known_args(words)
    if overrides and not overrides[0].startswith("-"):
        raise ConfigError(
            f"{overrides[0]!r} after an option", expected="the recipe first", remedy="see `semiseg train -h`"
        )
    run = train(recipe_config(recipe, overrides), resume=known.resume)
    best = run.result.best
    print(f"done: best mIoU {best:.2%} at step {run.result.best_step}" if best is not None else "done: not evaluated")
    print(f"model:  {run.path / 'model'}\nreport: {run.path / 'report.html'}")
    _write_json(
        known.json, {"run": str(run.path), "best_miou": best, "steps": run.result.steps, "seconds": run.result.seconds}
    )


def _evaluate(words: list[str]) -> None:
    from semiseg.api import evaluate
    from semiseg.data import DataConfig

    parser = _Parser("evaluate", "Evaluate a saved model as training does.")
    parser.add_argument("model", type=Path, help="a run directory, or the model directory in it")
    parser.add_argument("--data.root", dest="root", help="data folder; default: that of the model's run")
    parser.add_argument("--data.spec", dest="spec", help="name of a data set the package knows")
    parser.add_argument("--data.val", dest="val", help="list of images and masks")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    parser.add_argument("--protocol", choices=("original", "sliding"), help="default: as in training")
    options = parser.parse_args(words)
    data = DataConfig(root=options.root, spec=options.spec, val=options.val) if options.root else None
    if data is None and (options.spec or options.val):
        raise ConfigError("--data.spec and --data.val need --data.root", remedy="name the data folder too")
    found = evaluate(options.model, data, device=options.device, precision=options.precision, protocol=options.protocol)
    width = max(len(name) for name in found.classes)
    for name, iou in zip(found.classes, found.iou_K, strict=True):
        print(f"{name:{width}}  {iou:7.2%}")
    print(f"{'mIoU':{width}}  {found.miou:7.2%}")
    iou = dict(zip(found.classes, found.iou_K.tolist(), strict=True))
    _write_json(options.json, {"miou": found.miou, "iou": iou, "confusion": found.confusion_KK.tolist()})


def _predict(words: list[str]) -> None:
    from semiseg.prediction import predict

    parser = _Parser("predict", "Write a mask for each image; finished ones are skipped, so it can be interrupted.")
    parser.add_argument("model", type=Path, help="a run directory, or the model directory in it")
    parser.add_argument("images", type=Path, help="an image or a folder of images")
    parser.add_argument("--out", type=Path, required=True, help="where the masks go, in the folders of the images")
    parser.add_argument("--overlays", action="store_true", help="also write the image tinted with its mask")
    parser.add_argument("--overwrite", action="store_true", help="write masks again that exist")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args(words)
    summary = predict(
        options.model,
        options.images,
        options.out,
        overlays=options.overlays,
        overwrite=options.overwrite,
        device=options.device,
    )
    print(f"{summary.images} masks written to {options.out}, {summary.images_per_second:.2f} images/s", end="")
    print(f"; {summary.skipped} existed" if summary.skipped else "")
    unreadable = {str(path): reason for path, reason in summary.unreadable}
    facts = {"images": summary.images, "skipped": summary.skipped, "seconds": summary.seconds}
    _write_json(options.json, {**facts, "unreadable": unreadable})
    if unreadable:
        raise DataError(
            f"{len(unreadable)} images could not be read; the masks of all others are written",
            where="\n            ".join(f"{path}: {reason}" for path, reason in unreadable.items()),
            remedy="replace these files and run the same command again",
        )


def _report(words: list[str]) -> None:
    from semiseg.reporting import report

    parser = _Parser("report", "Write the report of a run.")
    parser.add_argument("run", type=Path, help="a run directory")
    options = parser.parse_args(words)
    page = report(options.run)
    print(page)
    _write_json(options.json, {"report": str(page)})


def _recipes(words: list[str]) -> None:
    from semiseg.config import load_recipe, make_config, shipped_recipes, to_dict

    parser = _Parser("recipes", "List the recipes, or print one.")
    parser.add_argument("name", nargs="?", help="the recipe to print")
    options = parser.parse_args(words)
    recipes = shipped_recipes()
    if options.name is not None:
        load_recipe(options.name)
        print(recipes.get(options.name, Path(options.name)).read_text(encoding="utf-8"), end="")
    else:
        width = max(len(name) for name in recipes)
        for name, path in recipes.items():
            print(f"{name:{width}}  {path.read_text(encoding='utf-8').splitlines()[0].lstrip('# ')}")
    named = [options.name] if options.name else recipes
    _write_json(options.json, {name: to_dict(make_config(load_recipe(name), where=name)) for name in named})


def _doctor(words: list[str]) -> None:
    from semiseg.machine import doctor

    options = _Parser("doctor", "Say what this machine can do.").parse_args(words)
    facts = doctor()
    for name, value in facts.items():
        print(f"{name:12}  {value}")
    _write_json(options.json, facts)


def _demo(words: list[str]) -> None:
    from semiseg.quickstart import demo

    parser = _Parser("demo", "Labeled-only, FixMatch and UniMatch V2 on drawn scenes, side by side.")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="where everything goes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fresh", action="store_true", help="remove an earlier demo at the same place first")
    options = parser.parse_args(words)
    summary = demo(options.out, seed=options.seed, fresh=options.fresh)
    _write_json(options.json, summary)


VERBS: dict[str, Callable[[list[str]], None]] = {
    "demo": _demo,
    "train": _train,
    "evaluate": _evaluate,
    "predict": _predict,
    "report": _report,
    "recipes": _recipes,
    "doctor": _doctor,
}
