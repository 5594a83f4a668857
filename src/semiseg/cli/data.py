"""The verb data and what follows it: check, import, frames, levels, prepare, split, suggest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from semiseg.cli.options import Parser, write_json
from semiseg.errors import ConfigError, DataError, closest
from semiseg.printable import printable

_USAGE = """semiseg data: look at a data set, import labels, make masks or tiles of original releases, and new splits

  semiseg data check FOLDER|RECIPE|LIST           is it sound? every file decoded, classes counted (docs/data.md)
  semiseg data prepare NAME --raw DIR --out DIR   pascal, cityscapes, ade20k, coco, levir or whu (docs/datasets.md)
  semiseg data import SOURCE --out DIR            exports of CVAT, Label Studio, Labelme, COCO; masks in colours
  semiseg data frames VIDEO --out DIR --fps 1     frames of videos as images: to learn from, or to predict
  semiseg data levels FOLDER [--bands R G B]      which bands of 16-bit or many-band images are shown, and how
  semiseg data split FOLDER --labeled N           choose which N images with a mask are labeled (docs/data.md)
  semiseg data suggest RUN|FOLDER --budget N      which images to label next, and why (docs/suggest.md)

Each has -h, and --json FILE writes its result for scripts."""


def data_verb(words: list[str]) -> None:
    """Look at data sets, import labels, make training masks of original releases, and new splits."""
    if not words or words[0] in ("-h", "--help"):
        print(_USAGE)
        return
    if words[0] not in DATA_VERBS:
        raise ConfigError(
            f"unknown verb data {words[0]!r}{closest(words[0], DATA_VERBS)}", remedy="see `semiseg data -h`"
        )
    DATA_VERBS[words[0]](words[1:])


def _check(words: list[str]) -> None:
    from semiseg.cli.inspection import print_inspection
    from semiseg.cli.progress import shown_progress
    from semiseg.config.recipe import recipe_config
    from semiseg.data.inspection import inspect_data, manifest_place

    parser = Parser("data check", "Decode every file, count classes, compare train and val; exit code 1 with faults.")
    parser.usage = "semiseg data check FOLDER|RECIPE|CONFIG.yaml|LIST.txt [--manifest [FILE]] [--key value ...]"
    help_ = "write checksums, which training holds the files against"
    parser.add_argument("--manifest", nargs="?", type=Path, const=Path(), metavar="FILE", help=help_)
    if "-h" in words or "--help" in words:
        print(parser.format_help())
        return
    source, known, overrides = parser.parse_recipe(words)
    listed = Path(source) if source.endswith(".txt") else None
    config = recipe_config("default" if listed else source, overrides).data
    manifest = manifest_place(config) if known.manifest == Path() else known.manifest
    with shown_progress("samples") as tick:
        found = inspect_data(config, listed=listed, manifest=manifest, tick=tick)
    print_inspection(found)
    write_json(known.json, found.facts())
    if found.faults:
        raise SystemExit(1)


def _import(words: list[str]) -> None:
    from semiseg.cli.progress import shown_progress
    from semiseg.data.imports import FORMATS, import_data

    parser = Parser("data import", "Make a data folder of what an annotation tool exported; see docs/data.md.")
    parser.add_argument("source", type=Path, help="a folder, a ZIP or a file of annotations")
    parser.add_argument("--out", type=Path, required=True, help="the data folder to make; it must not exist")
    parser.add_argument("--images", type=Path, help="folder or ZIP of the images; default: in the source")
    parser.add_argument("--format", default="auto", choices=("auto", *FORMATS))
    parser.add_argument(
        "--classes", type=Path, metavar="FILE", help="dataset.yaml or labelmap.txt: classes and colours"
    )
    parser.add_argument(
        "--rest", metavar="CLASS", help="what nothing is drawn on: a class, or ignore; default: background"
    )
    parser.add_argument(
        "--boxes", choices=("fill", "ignore"), help="boxes are the object; or what is in them is ignored"
    )
    help_ = "kinds of shapes to pass over, as if nobody had drawn them"
    parser.add_argument("--leave-out", nargs="+", default=[], metavar="KIND", help=help_)
    help_ = "images with nothing drawn in them are labeled, and not unlabeled"
    parser.add_argument("--empty-is-background", action="store_true", help=help_)
    parser.add_argument("--copy", action="store_true", help="copy the images of a folder instead of linking them")
    options = parser.parse_args(words)
    with shown_progress("masks") as tick:
        made = import_data(
            options.source,
            options.out,
            images=options.images,
            format=options.format,
            classes=options.classes,
            rest=options.rest,
            boxes=options.boxes,
            leave_out=options.leave_out,
            empty_is_background=options.empty_is_background,
            copy=options.copy,
            tick=tick,
        )
    print(made.summary())
    print(f"train with it: semiseg train {options.out}")
    write_json(options.json, made.facts())


def _prepare(words: list[str]) -> None:
    from semiseg.data.prepare import DATASETS, prepare

    parser = Parser("data prepare", "Make the masks or tiles of an original release; finished ones are kept.")
    parser.add_argument("dataset", choices=sorted(DATASETS))
    parser.add_argument("--raw", type=Path, required=True, help="the unpacked original release")
    parser.add_argument("--out", type=Path, required=True, help="the data folder to make")
    parser.add_argument("--workers", type=int, help="processes; default: by the number of cores, at most 8")
    options = parser.parse_args(words)
    prepared = prepare(options.dataset, options.raw, options.out, workers=options.workers)
    print(prepared.summary())
    write_json(options.json, prepared.facts())


def _frames(words: list[str]) -> None:
    from semiseg.data.reading import MAX_PIXELS
    from semiseg.data.video import extract_frames

    parser = Parser("data frames", "Write frames of a video, or of every video below a folder; existing ones are kept.")
    parser.add_argument("video", type=Path, help="a video or a folder")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the frames, named by milliseconds")
    parser.add_argument("--fps", type=float, default=1.0, help="frames a second of video; default: 1")
    parser.add_argument("--lossless", action="store_true", help="PNG instead of JPEG of quality 95")
    parser.add_argument("--max-pixels", type=int, default=MAX_PIXELS, help="largest frame that is decoded, in pixels")
    options = parser.parse_args(words)
    frames = extract_frames(
        options.video, options.out, fps=options.fps, lossless=options.lossless, max_pixels=options.max_pixels
    )
    print(f"{frames.made:,} frames written, {frames.existed:,} existed: {frames.folder}")
    write_json(options.json, {**asdict(frames), "folder": str(frames.folder)})
    if frames.broken:
        first, reason = next(iter(frames.broken.items()))
        raise DataError(
            f"{len(frames.broken)} videos could not be read to their end; the first: {reason}",
            where=Path(first),
            remedy="replace these files; the frames before the damage are there",
        )


def _levels(words: list[str]) -> None:
    from semiseg.cli.progress import shown_progress
    from semiseg.data.levels import measure_levels

    parser = Parser("data levels", "Measure what values become 0 and 255, and write it into the folder's dataset.yaml.")
    parser.add_argument("root", type=Path, help="the data folder")
    help_ = "bands shown as red, green and blue, or one as gray, from 1; default: all of one or three"
    parser.add_argument("--bands", type=int, nargs="+", default=[], metavar="N", help=help_)
    help_ = "of each band's values, those that become 0 and 255; default: 0.5 99.5"
    parser.add_argument("--percentiles", type=float, nargs=2, default=(0.5, 99.5), metavar=("LOW", "HIGH"), help=help_)
    options = parser.parse_args(words)
    with shown_progress("images") as tick:
        found = measure_levels(options.root, bands=options.bands, percentiles=tuple(options.percentiles), tick=tick)
    for number, ((low, high), (least, most)) in enumerate(zip(found.levels, found.extremes, strict=True)):
        name = f"band {found.bands[number]}" if found.bands else f"band {number + 1}"
        print(f"{name}: {low:g} becomes 0, {high:g} becomes 255 (seen: {least:g} to {most:g})")
    print(f"measured on {found.images:,} images, written to {found.file}")
    write_json(options.json, {**asdict(found), "file": str(found.file)})


def _split(words: list[str]) -> None:
    from semiseg.cli.progress import shown_progress
    from semiseg.data.splitting import split_dataset

    parser = Parser("data split", "Choose labeled images so that every class is among them, and write the lists.")
    parser.add_argument("root", type=Path, help="the data folder")
    parser.add_argument("--labeled", type=int, required=True, help="number of labeled images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", help="folder of the lists below splits/; default: the number of images")
    parser.add_argument("--data.spec", dest="spec", help="name of a data set the package knows")
    parser.add_argument("--data.splits", dest="splits", help="folder of published lists; default: downloaded")
    options = parser.parse_args(words)
    name = options.name or str(options.labeled)
    with shown_progress("masks") as tick:
        summary = split_dataset(
            options.root,
            options.labeled,
            seed=options.seed,
            name=name,
            spec=options.spec,
            splits=options.splits,
            tick=tick,
        )
    print(f"{summary.labeled:,} labeled, {summary.unlabeled:,} unlabeled, {summary.val:,} val: {summary.folder}")
    print(f"classes among the labeled: {', '.join(summary.covered)}")
    for what, classes in (("in no training mask", summary.absent), ("too few labeled images for", summary.missed)):
        if classes:
            print(f"{what}: {', '.join(classes)}")
    if summary.val_list:
        print(f"no val images were named: a held-out part is listed in {summary.val_list}")
    print(f"train with it: semiseg train {options.root} --data.split {name}")
    val_list = str(summary.val_list) if summary.val_list else None
    write_json(options.json, {**asdict(summary), "folder": str(summary.folder), "val_list": val_list})


def _suggest(words: list[str]) -> None:
    from semiseg.cli.progress import shown_progress
    from semiseg.suggestion import FORMATS, suggest

    parser = Parser("data suggest", "Choose the images to label next. Settings of the data follow as for train.")
    parser.usage = "semiseg data suggest RUN|FOLDER|RECIPE [--budget N] [--out DIR] [--data.KEY value ...]"
    parser.add_argument("--budget", type=int, default=20, help="images to choose; default 20")
    help_ = "the new folder; default: suggestions in the run, or NAME-suggestions beside the data folder"
    parser.add_argument("--out", type=Path, metavar="DIR", help=help_)
    help_ = "whose features are compared; default: the run's, else DINOv2 on a GPU, else that of the extra starter"
    parser.add_argument("--encoder", metavar="NAME", help=help_)
    parser.add_argument("--weights", metavar="WHICH", help="of that encoder: hub, meta, package, random or a file")
    parser.add_argument("--license", metavar="NAME", help="the licence of its weights that you accept")
    parser.add_argument("--pool", type=int, default=5000, help="images that are looked at, at most; default 5000")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of these, and of random choices to compare")
    help_ = "also write what the model is sure of as labels to correct, into this new folder"
    parser.add_argument("--as-labels", type=Path, metavar="DIR", help=help_)
    parser.add_argument("--format", choices=FORMATS, default="png", help="of these labels; default png")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    if "-h" in words or "--help" in words:
        print(parser.format_help())
        return
    source, known, overrides = parser.parse_recipe(words)
    with shown_progress("images") as progress:
        found = suggest(
            source,
            known.out,
            budget=known.budget,
            overrides=overrides,
            encoder=known.encoder,
            weights=known.weights,
            license=known.license,
            pool=known.pool,
            seed=known.seed,
            as_labels=known.as_labels,
            format=known.format,
            device=known.device,
            progress=progress,
        )
    for line in found.lines():
        print(printable(line))
    write_json(known.json, found.facts())


DATA_VERBS: dict[str, Callable[[list[str]], None]] = {
    "check": _check,
    "frames": _frames,
    "import": _import,
    "levels": _levels,
    "prepare": _prepare,
    "split": _split,
    "suggest": _suggest,
}
