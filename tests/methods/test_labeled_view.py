"""What the student sees of labeled crops."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from semiseg.augment import StrongViewConfig, apply_photometric
from semiseg.data import Batch, DataConfig, Division, TrainStream, load_dataset
from semiseg.methods.labeled_view import as_seen

ALWAYS = StrongViewConfig(jitter_p=1.0, cutmix_p=1.0)


def drawn(scenes: Path, *, mixed: bool = False, processes: int = 1) -> list[Batch]:
    """Return the chunks of a step of four labeled crops, each with padding."""
    config = DataConfig(root=str(scenes), crop=32, scale=(0.3, 0.6))
    return [
        TrainStream(
            load_dataset(config),
            config,
            Division(labeled=4, unlabeled=0, processes=processes, rank=rank),
            strong=ALWAYS,
            views=0,
            seed=0,
            labeled_views=1,
            labeled_mixed=mixed,
        )[0]
        for rank in range(processes)
    ]


def pasted(maps: Tensor, boxes: Tensor) -> Tensor:
    """Paste from the crop at the other end of the batch, box by box."""
    found = maps.clone()
    for place, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        found[place, ..., y0:y1, x0:x1] = maps[len(maps) - 1 - place, ..., y0:y1, x0:x1]
    return found


def test_as_published_it_is_the_crop_itself(tiny_scenes: Path) -> None:
    (batch,) = drawn(tiny_scenes)
    assert as_seen(batch, "weak") is batch


def test_colours_change_and_masks_do_not(tiny_scenes: Path) -> None:
    (batch,) = drawn(tiny_scenes)
    seen = as_seen(batch, "photometric").labeled
    recoloured = apply_photometric(batch.labeled.images_BTCHW, batch.labeled.views[0].photometric)
    assert torch.equal(seen.images_BTCHW, recoloured)
    assert torch.equal(seen.mask_BHW, batch.labeled.mask_BHW)


@pytest.mark.parametrize("processes", [1, 2])
def test_cutmix_pastes_images_and_masks_and_the_pixels_are_counted_so(tiny_scenes: Path, processes: int) -> None:
    chunks = drawn(tiny_scenes, mixed=True, processes=processes)
    for batch in chunks:
        seen, (draws,) = as_seen(batch, "strong").labeled, batch.labeled.views
        recoloured = apply_photometric(batch.labeled.images_BTCHW, draws.photometric)
        assert torch.equal(seen.images_BTCHW, pasted(recoloured, draws.box_B4))
        assert torch.equal(seen.mask_BHW, pasted(batch.labeled.mask_BHW, draws.box_B4))
        assert not torch.equal(seen.mask_BHW, batch.labeled.mask_BHW)
        assert batch.pixels.labeled == (seen.mask_BHW != 255).sum()
    (whole,) = drawn(tiny_scenes, mixed=True)
    assert sum(batch.pixels.labeled for batch in chunks) == whole.pixels.labeled
