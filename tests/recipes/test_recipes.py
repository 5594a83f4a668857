from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from semiseg.api import recipe_config
from semiseg.assembly import run_name
from semiseg.config import Config, make_config
from semiseg.data.spec import read_spec, shipped_specs
from semiseg.engine.schedule import lr_scale
from semiseg.errors import ConfigError
from semiseg.methods import find_method
from semiseg.methods.unimatch_v1 import UniMatchV1
from semiseg.models.encoders import ENCODERS
from semiseg.published import headlines, published_curve, published_runs
from semiseg.recipes import (
    headline_recipes,
    is_recipe,
    load_recipe,
    matching,
    published_recipes,
    shipped_recipes,
)

TABLES = [f"table{number:02}" for number in range(1, 15)] + ["zfigure5", "zfigure6"]

ENCODER_NAMES = {
    "beit_b": "beit_base",
    "beit_l": "beit_large",
    "sam_b": "sam_base",
    "sam_l": "sam_large",
    "mitb5": "mit_b5",
}
"""The csv's names, and ours where they differ."""


def config(name: str, *overrides: str) -> Config:
    return make_config(load_recipe(name), overrides, where=name)


# Against the published runs


def expected_settings(row: dict[str, str]) -> dict[str, Any]:
    """What the csv says of a run, in our words."""
    encoder = ENCODER_NAMES.get(row["encoder"], row["encoder"])
    everything = row["split"] in ("all_labels", "123K", "241K", "20K")
    return {
        "dataset": row["dataset"]
        or row["dataset_unlabeled"],  # one row of table 9 has its data set in the wrong column
        "classes": int(row["classes"]),
        "split": "all" if everything else row["split"].rstrip("%"),
        "method": method(row),
        "encoder": encoder,
        # 518 does not divide into patches of 16: those runs cannot have had the crop that their log prints.
        "crop": 512 if encoder.startswith(("beit", "sam")) else int(row["crop_size"]),
        "images of a step": int(row["batch_per_gpu"]) * int(row["gpus"]),
        "epochs": int(row["epochs"]),
        "lr": float(row["lr"]),
        "multiplier": float(row["lr_multi"]),
        "threshold": float(row["conf_thresh"]),
        "frozen": row["frozen_encoder"] == "True",
        "weight": float(row["variant"].split()[-1]) if row["variant"].startswith("unlabeled loss weight") else 1.0,
        "labels": labels(row),
        "scale": (0.8, 1.2) if row["metric"] == "changed_iou" else (0.5, 2.0),
        "grayscale": 0.0 if row["metric"] == "changed_iou" else 0.2,
        "dropout": dropout(row),
    }


def method(row: dict[str, str]) -> str:
    """Return the method of a run; three of the csv's are variants of it (figures 4a to 4c)."""
    if row["method"].startswith("two strong views"):
        return "unimatch_v2"
    return row["method"].split(" + ")[0]


def labels(row: dict[str, str]) -> tuple[str, bool]:
    """Return who labels, and whether an average is kept though the student labels (the code of change detection).

    An average also labels in the runs of UniMatch V1: two of their logs begin an epoch anew with an average that was
    not restored, and no label is confident until it has followed the student, whose own loss is low all the while.
    """
    if row["metric"] == "changed_iou":
        return "student", True
    return ("student" if row["variant"] == "no EMA teacher" else "ema"), False


def dropout(row: dict[str, str]) -> tuple[str, str]:
    if row["method"].startswith("fixmatch"):
        return ("random" if "feature augmentation" in row["method"] else "none"), "encoder"
    if "no complementary dropout" in row["method"]:
        return "none", "encoder"
    if "random dropout" in row["method"]:
        return "random", "encoder"
    return "complementary", "classifier" if row["variant"] == "dropout at decoder classifier" else "encoder"


def found_settings(config: Config) -> dict[str, Any]:
    spec = read_spec(shipped_specs()[str(config.data.spec)])
    factor = find_method(config.method).labeled_factor
    assert lr_scale(config.optimizer, config.schedule.batch) == 1  # the rates are the published ones
    assert (config.loss.labeled == "ohem") == (config.data.spec == "cityscapes")
    fixmatch = config.method == "fixmatch"
    return {
        "dataset": config.data.spec,
        "classes": spec.num_classes,
        "split": config.data.split,
        "method": config.method,
        "encoder": config.model.encoder,
        "crop": config.data.crop,
        "images of a step": config.schedule.batch * factor,
        "epochs": config.schedule.epochs,
        "lr": config.optimizer.lr,
        "multiplier": config.optimizer.decoder_multiplier,
        "threshold": config.consistency.threshold,
        "frozen": config.model.trains == "decoder",
        "weight": config.consistency.weight,
        "labels": (config.consistency.teacher or find_method(config.method).teacher, config.consistency.average),
        "scale": config.data.scale,
        "grayscale": config.strong.grayscale_p,
        "dropout": (
            config.fixmatch.dropout if fixmatch else config.unimatch_v2.dropout,
            config.unimatch_v2.dropout_at,
        ),
    }


def published_rows(reference: Path) -> list[dict[str, str]]:
    """Return the published runs."""
    with (reference / "published_runs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("table", TABLES)
def test_the_recipe_of_every_published_run_has_the_published_settings(table: str, published_reference: Path) -> None:
    rows = [row for row in published_rows(published_reference) if row["table"] == table]
    assert rows
    for row in rows:
        recipe = published_runs()[row["run"]].recipe
        assert recipe is not None, row["run"]
        composed = config(recipe)
        assert (composed.recipe, composed.published) == (recipe, row["run"])
        assert found_settings(composed) == expected_settings(row), row["run"]


def test_every_run_has_a_recipe_of_its_own(published_reference: Path) -> None:
    rows = published_rows(published_reference)
    recipes = [published_runs()[row["run"]].recipe for row in rows]
    assert len(rows) == len(set(recipes)) == 301 + 24
    assert None not in recipes


def test_the_recipe_of_a_headline_trains_its_system_on_its_split() -> None:
    for name, row in headline_recipes().items():
        composed = config(name)
        found = (composed.method, composed.data.spec, composed.data.split, composed.model.encoder)
        assert found == (row.system, row.dataset, row.split, row.encoder)


PUBLISHED_ALLSPARK = {
    # crop, epochs, images of a step, learning rate, the decoder's multiple, labeled loss, epochs of warm-up
    "pascal/92": (513, 80, 2 * 4, 1e-3, 10.0, "ce", 5),
    "cityscapes/1_16": (801, 240, 2 * 4, 5e-3, 1.0, "ohem", 15),
    "coco/1_512": (513, 10, 4 * 4, 1e-3, 10.0, "ce", 5),
}
"""What the configuration files of the public code say (commit 9da63e2); of COCO's warm-up they say nothing."""


@pytest.mark.parametrize("split", PUBLISHED_ALLSPARK)
def test_allspark_has_the_published_schedules(split: str) -> None:
    composed = config(f"{split}-allspark-mit_b5")
    optimizer, loss = composed.optimizer, composed.loss
    assert lr_scale(optimizer, composed.schedule.batch) == 1
    assert PUBLISHED_ALLSPARK[split] == (
        composed.data.crop,
        composed.schedule.epochs,
        composed.schedule.batch,
        optimizer.lr,
        optimizer.decoder_multiplier,
        loss.labeled,
        composed.allspark.warmup_epochs,
    )
    assert (optimizer.kind, optimizer.momentum, optimizer.weight_decay, optimizer.decay_norms) == (
        "sgd",
        0.9,
        1e-4,
        True,
    )
    assert (loss.ohem_threshold, loss.ohem_min_kept) == (0.7, 200_000 / 2)  # a GPU has two images
    assert (composed.model.neck, composed.model.decoder, composed.model.features) == ("allspark", "segformer", None)
    assert (composed.consistency.threshold, composed.consistency.weight, composed.consistency.teacher) == (0, 1, None)
    assert composed.data.scale == (0.5, 2.0)
    assert find_method("allspark").teacher == "student"


def test_allspark_has_a_recipe_for_every_headline() -> None:
    names = {row.recipe for row in headlines() if row.system == "allspark"}
    assert len(names) == 13
    assert None not in names


V1_SCHEDULES = {  # crop, epochs, batch, rate, multiple, threshold, labeled loss
    "pascal": (321, 80, 8, 1e-3, 10, 0.95, "ce"),
    "cityscapes": (801, 240, 8, 5e-3, 1, 0.0, "ohem"),
    "ade20k": (512, 40, 8, 4e-3, 10, 0.95, "ce"),
    "coco": (513, 30, 8, 4e-3, 10, 0.95, "ce"),
    "levir": (256, 80, 8, 2e-2, 1, 0.95, "ce"),
    "whu": (256, 80, 8, 2e-2, 1, 0.95, "ce"),
}
"""The configurations in UniMatch V1's code (commit 0324f3d), and for ADE20K in SemiVL's (experiment 43)."""


def test_the_recipes_of_unimatch_v1_have_its_published_schedules() -> None:
    names = [name for name, row in headline_recipes().items() if row.system == "unimatch_v1"]
    assert len(names) == 30
    for name in names:
        found = config(name)
        optimizer, schedule = found.optimizer, found.schedule
        assert V1_SCHEDULES[str(found.data.spec)] == (
            *(found.data.crop, schedule.epochs, schedule.batch, optimizer.lr, optimizer.decoder_multiplier),
            *(found.consistency.threshold, found.loss.labeled),
        )
        assert (optimizer.kind, optimizer.momentum, optimizer.weight_decay) == ("sgd", 0.9, 1e-4)
        assert lr_scale(optimizer, schedule.batch) == 1
        assert found.model.decoder == "deeplabv3plus"
        assert (found.consistency.teacher or UniMatchV1.teacher, found.consistency.average) == ("student", False)


def test_a_variant_overrides_what_a_data_set_changes() -> None:
    assert config("cityscapes/1_16-unimatch_v1-resnet101-threshold_0.9").consistency.threshold == 0.9
    assert config("pascal/92-unimatch_v1-resnet101-crop_513").data.crop == 513
    assert config("pascal/92-unimatch_v2-dinov2_base-doubled").schedule.batch == 32


def test_the_labeled_list_is_repeated_to_the_published_lengths() -> None:
    lengths = {name: config(f"{name}/all-supervised-dinov2_base").data.labeled_epoch for name in ("pascal", "coco")}
    assert lengths == {"pascal": 3000, "coco": 30000}
    assert config("ade20k/1_8-supervised-dinov2_base").data.labeled_epoch == 6000
    assert config("cityscapes/1_8-supervised-dinov2_base").data.labeled_epoch == 3000


@pytest.mark.parametrize("encoder", ["dinov2_small_reg", "dinov3_base", "clip_base", "mit_b5", "resnet152", "sam_base"])
def test_a_combination_that_nobody_published_is_a_recipe_too(encoder: str) -> None:
    name = f"pascal/30-fixmatch-{encoder}-threshold_0.9"
    composed = config(name)
    assert composed.published is None
    assert (composed.data.split, composed.consistency.threshold) == ("30", 0.9)
    assert composed.model.encoder in ENCODERS


# Names


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("pascal/92-unimatch_v3-dinov2_base", "no method 'unimatch_v3' for a recipe; did you mean 'unimatch_v2'"),
        ("pascal/92-unimatch_v2-dinov2_bse", "no encoder 'dinov2_bse' for a recipe; did you mean 'dinov2_base'"),
        ("pascal/92-unimatch_v2-dinov2_base-frozn", "no variant 'frozn' for a recipe; did you mean 'frozen'"),
        ("pascall/92-unimatch_v2-dinov2_base", "did you mean 'pascal/92-unimatch_v2-dinov2_base'"),
        ("pascal", "no recipe 'pascal'"),
        ("pascal/92", "no recipe 'pascal/92'"),
        ("pascal/-unimatch_v2-dinov2_base", "no recipe"),
        ("../pascal/92-unimatch_v2-dinov2_base", "no recipe"),
    ],
)
def test_a_misspelt_part_is_named_with_the_closest(name: str, says: str) -> None:
    assert not is_recipe(name)
    with pytest.raises(ConfigError) as raised:
        load_recipe(name)
    assert says in str(raised.value)
    assert "semiseg recipes" in str(raised.value)


def test_parts_do_not_change_each_other() -> None:
    before = config("ade20k/1_8-unimatch_v2-dinov2_base")
    config("ade20k/all-unimatch_v2-beit_base-frozen")
    assert config("ade20k/1_8-unimatch_v2-dinov2_base") == before


def test_a_folder_of_ones_own_wins_where_the_name_is_no_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pascal/mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert recipe_config("pascal/mine").data.root == "pascal/mine"
    assert recipe_config("pascal/92-unimatch_v2-dinov2_base").data.root is None


def test_the_run_of_a_composed_recipe_says_each_part_once() -> None:
    name = "ade20k/1_16-unimatch_v2-dinov2_small"
    assert run_name(recipe_config(name)) == "ade20k-1_16-unimatch_v2-dinov2_small-seed0"
    assert run_name(recipe_config(name, ["--data.split", "1_8", "--seed", "3"])).endswith("-1_8-seed3")
    assert run_name(recipe_config("camvid", ["--data.split", "1_16"])) == "camvid-unimatch_v2-1_16-seed0"
    assert run_name(recipe_config("camvid", ["--data.root", "CV"])) == "camvid-unimatch_v2-seed0"


def test_names_are_found_by_their_beginning_and_by_patterns() -> None:
    names = ["default", "pascal/92-a", "pascal/183-b", "coco/92-a"]
    assert matching("pascal/", names) == ["pascal/92-a", "pascal/183-b"]
    assert matching("*/92-*", names) == ["pascal/92-a", "coco/92-a"]
    assert matching("", names) == names
    assert matching("x", names) == []


def test_published_recipes_name_runs_that_have_a_curve() -> None:
    assert not set(shipped_recipes()) & set(published_recipes())
    assert published_curve(published_recipes()["pascal/92-unimatch_v2-dinov2_base"]).judged == "teacher"
