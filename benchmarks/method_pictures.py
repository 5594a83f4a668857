"""Draw what happens in a step of UniMatch V2, by the code that trains, on drawn scenes.

    semiseg demo
    python benchmarks/method_pictures.py runs/demo/fixmatch docs

writes the pictures of docs/unimatch.md: `method-labels.png`, `method-views.png` and `method-dropout.png`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from semiseg.augment import StrongViewConfig, draw_view, stack_views
from semiseg.data import Place, Unlabeled
from semiseg.data.scenes import CLASSES, PALETTE, draw_scene
from semiseg.engine.pictures import colourise, save_picture
from semiseg.methods.consistency import StrongView, predict, pseudo_label, strong_view
from semiseg.methods.dropout import channel_masks, drop_levels
from semiseg.methods.labels import PseudoLabel
from semiseg.models import Segmenter, load_model
from semiseg.seeding import rng

Picture = NDArray[np.uint8]

SEED = 20
SCENES = (1001, 1004)
"""Scenes that the demo does not train on."""
THRESHOLD = 0.7
"""As in the recipe `demo`."""
CELL, GAP, TITLE, MARGIN = 232, 14, 26, 18
PAPER, INK = (255, 255, 255), (38, 40, 46)


def main() -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a run of `semiseg demo`")
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    for path in draw(options.model, options.out):
        print(path)


def draw(model: Path, out: Path) -> list[Path]:
    """Write the pictures and return their paths."""
    teacher, _ = load_model(model)
    unlabeled = weak_views()
    pseudo = pseudo_label(teacher, teacher.normalize(unlabeled.images_BTCHW), unlabeled.ignore_BHW)
    views = [strong_view(unlabeled, pseudo, draws, teacher.normalize) for draws in unlabeled.views]
    alone = [strong_view(unlabeled, pseudo, draws, teacher.normalize) for draws in without_boxes(unlabeled).views]
    pictures = {
        "method-labels.png": labels_picture(unlabeled, pseudo),
        "method-views.png": views_picture(teacher, unlabeled, alone, views),
        "method-dropout.png": dropout_picture(teacher, views),
    }
    for name, picture in pictures.items():
        save_picture(picture, out / name)
    return [out / name for name in pictures]


def weak_views() -> Unlabeled:
    """Return two drawn scenes as unlabeled images, one of them mirrored, with the draws of two strong views."""
    scenes = [draw_scene(SEED, index).image_HW3 for index in SCENES]
    images_BTHW3 = torch.from_numpy(np.stack(scenes))[:, None]
    images_BTHW3[1] = images_BTHW3[1].flip(-2)
    size = images_BTHW3.shape[2]
    always = StrongViewConfig(jitter_p=1, cutmix_p=1, cutmix_area=(0.15, 0.4), grayscale_p=0)
    views = tuple(
        stack_views([draw_view(rng(SEED, "view", index, view), 1, size, always) for index in SCENES]) for view in (0, 1)
    )
    return Unlabeled(images_BTHW3, torch.zeros(len(SCENES), size, size, dtype=torch.bool), views)


def without_boxes(unlabeled: Unlabeled) -> Unlabeled:
    """Return the same without CutMix."""
    return replace(
        unlabeled, views=tuple(replace(draws, box_B4=torch.zeros_like(draws.box_B4)) for draws in unlabeled.views)
    )


def labels_picture(unlabeled: Unlabeled, pseudo: PseudoLabel) -> Image.Image:
    """Show weak view, the teacher's classes, how sure it is, and what of it is learned."""
    rows = []
    for number in range(len(SCENES)):
        label_HW = pseudo.label_BHW[number].numpy().astype(np.uint8)
        confidence_HW = pseudo.confidence_BHW[number].numpy()
        learned = (confidence_HW >= THRESHOLD).mean()
        rows.append(
            {
                "weak view": bytes_of(unlabeled.images_BTCHW[number, 0] / 255),
                "the teacher's classes": colourise(label_HW, PALETTE),
                "its confidence": heat(confidence_HW),
                f"pseudo-label, {learned:.0%} learned": faded(label_HW, confidence_HW),
            }
        )
    return sheet(rows, legend=True)


def views_picture(
    model: Segmenter, unlabeled: Unlabeled, alone: Sequence[StrongView], mixed: Sequence[StrongView]
) -> Image.Image:
    """Show both strong views of each image, before and after CutMix, with the pseudo-label that is mixed alike."""
    rows = []
    for view, name in enumerate(("first", "second")):
        pseudo = mixed[view].pseudo
        label_HW = pseudo.label_BHW[0].numpy().astype(np.uint8)
        rows.append(
            {
                "weak view": bytes_of(unlabeled.images_BTCHW[0, 0] / 255),
                f"{name} view: colours, blur": shown(model, alone[view].images_BTCHW[0, 0]),
                "then CutMix": shown(model, mixed[view].images_BTCHW[0, 0]),
                "what is learned of it": faded(label_HW, pseudo.confidence_BHW[0].numpy()),
            }
        )
    return sheet(rows, legend=True)


def dropout_picture(model: Segmenter, views: Sequence[StrongView]) -> Image.Image:
    """Show which channels of an image each view keeps, and what the network sees with them."""
    # The draw leaves one of two images undropped; this place has one of which the first is dropped.
    masks = next(masks for masks in (drawn_masks(model, step) for step in range(9)) if (masks[0][0] != 1).any())
    rows = []
    for view, (strong, keep_BD) in enumerate(zip(views, masks, strict=True)):
        logits = predict(model, strong.images_BTCHW, drop_levels(keep_BD))
        plain = predict(model, strong.images_BTCHW)
        rows.append(
            {
                f"view {view + 1}": shown(model, strong.images_BTCHW[0, 0]),
                "the channels it keeps": channels(keep_BD[0]),
                "seen with all channels": classes_of(plain[0]),
                "seen with half of them": classes_of(logits[0]),
            }
        )
    return sheet(rows, legend=True)


def drawn_masks(model: Segmenter, step: int) -> list[Tensor]:
    """Return the channel multipliers of both views, as a training draws them in a step."""
    place = Place(
        seed=SEED, step=step, steps=9, steps_per_epoch=9, batch=2, chunks=1, positions_B=torch.arange(len(SCENES))
    )
    masks = channel_masks("complementary", place, model.width, views=2, device=torch.device("cpu"))
    return [mask for mask in masks if mask is not None]


def classes_of(logits_KHW: Tensor) -> Picture:
    """Return the classes in their colours."""
    return colourise(logits_KHW.argmax(0).numpy().astype(np.uint8), PALETTE)


def shown(model: Segmenter, normalised_CHW: Tensor) -> Picture:
    """Return a normalised image as it looks."""
    return bytes_of(normalised_CHW * model.std + model.mean)


def bytes_of(image_CHW: Tensor) -> Picture:
    """Return floats of 0 to 1 as a picture (H, W, 3)."""
    picture: Picture = (image_CHW.clamp(0, 1) * 255).round().byte().movedim(0, -1).numpy()
    return picture


def heat(confidence_HW: NDArray[np.float32]) -> Picture:
    """Return confidences from white (0.3) over yellow to dark blue (1)."""
    stops = np.array([0.3, 0.6, THRESHOLD, 1.0])
    colours = np.array([(255, 255, 255), (253, 216, 121), (122, 177, 196), (29, 66, 120)], dtype=float)
    channels = [np.interp(confidence_HW, stops, colours[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def faded(label_HW: Picture, confidence_HW: NDArray[np.float32]) -> Picture:
    """Return the label in its colours, gray where it is not sure enough to be learned."""
    colours = colourise(label_HW, PALETTE)
    unsure = confidence_HW < THRESHOLD
    colours[unsure] = (0.15 * colours[unsure] + 0.85 * np.array([205, 207, 211])).round().astype(np.uint8)
    return colours


def channels(keep_D: Tensor) -> Picture:
    """Draw a square for each channel: dark where it is kept and doubled, light where it is dropped."""
    side, columns = 40, 8
    rows = -(-len(keep_D) // columns)
    picture = np.full((rows * side, columns * side, 3), 255, dtype=np.uint8)
    for number, factor in enumerate(keep_D.tolist()):
        top, left = number // columns * side, number % columns * side
        picture[top + 4 : top + side - 4, left + 4 : left + side - 4] = (29, 66, 120) if factor else (226, 229, 234)
    return picture


def sheet(rows: Sequence[dict[str, Picture]], *, legend: bool) -> Image.Image:
    """Put pictures with their titles into rows."""
    columns = len(rows[0])
    width = columns * (CELL + GAP) - GAP + 2 * MARGIN
    height = len(rows) * (CELL + TITLE + GAP) + 2 * MARGIN + legend * TITLE - GAP
    page = Image.new("RGB", (width, height), PAPER)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    for row, pictures in enumerate(rows):
        for column, (title, picture) in enumerate(pictures.items()):
            left, top = MARGIN + column * (CELL + GAP), MARGIN + row * (CELL + TITLE + GAP)
            pen.text((left, top), title, fill=INK, font=font)
            page.paste(fitted(picture), (left, top + TITLE))
    if legend:
        place = MARGIN
        for name, colour in zip(CLASSES, PALETTE, strict=True):
            top = height - MARGIN - 10
            pen.rounded_rectangle((place, top - 6, place + 14, top + 8), radius=3, fill=colour)
            pen.text((place + 20, top - 8), name, fill=INK, font=font)
            place += 44 + round(font.getlength(name))
    return page


def fitted(picture: Picture) -> Image.Image:
    """Return a picture on a square cell, its pixels kept sharp."""
    height, width = picture.shape[:2]
    scale = CELL / max(height, width)
    size = round(width * scale), round(height * scale)
    cell = Image.new("RGB", (CELL, CELL), PAPER)
    cell.paste(Image.fromarray(picture).resize(size, Image.Resampling.NEAREST), (0, (CELL - size[1]) // 2))
    return cell


if __name__ == "__main__":
    main()
