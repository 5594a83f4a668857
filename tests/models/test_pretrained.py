"""Models in the hub's layout: to a folder and back, to the hub and back, against a server that stands in for it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard as HubCard
from huggingface_hub import constants
from stand_in_hub import StandInHub, standing_in

import semiseg
from semiseg.cli import main
from semiseg.errors import ModelError
from semiseg.models import ModelCard, ModelConfig, Segmenter, Training, build_segmenter, load_model, save_model
from semiseg.models.readme import front_matter

NANO = ModelConfig(encoder="vit_nano", weights="random", features=8)
CARD = ModelCard(
    classes=("road", "field"),
    palette=((128, 64, 128), (0, 0, 255)),
    crop=64,
    model=NANO,
    metrics={"miou": 0.71234, "step": 300.0},
    training=Training(dataset="camvid", method="unimatch_v2", labeled=23, unlabeled=344, val=101),
)
NAME = "someone/fields"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    """Stand in for the hub, with an empty cache."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("HF_TOKEN", "may-write")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with standing_in() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server


@pytest.fixture
def segmenter() -> Segmenter:
    return build_segmenter(NANO, 2, seed=5)


@pytest.fixture
def published(hub: StandInHub, segmenter: Segmenter) -> StandInHub:
    """Return the hub, with the model on it."""
    segmenter.push_to_hub(NAME, CARD)
    hub.asked.clear()
    return hub


def same(one: Segmenter, other: Segmenter) -> bool:
    state = other.state_dict()
    return all(torch.equal(value, state[key]) for key, value in one.state_dict().items())


def test_a_folder_and_back(segmenter: Segmenter, tmp_path: Path) -> None:
    segmenter.save_pretrained(tmp_path / "one", CARD)
    loaded = Segmenter.from_pretrained(tmp_path / "one")
    assert same(loaded, segmenter)
    assert not loaded.training
    loaded.save_pretrained(tmp_path / "two", license="mit")  # it knows its card
    assert load_model(tmp_path / "two")[1] == CARD
    assert "license: mit" in (tmp_path / "two" / "README.md").read_text()


def test_a_model_without_a_card_says_what_it_needs(segmenter: Segmenter, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"(?s)does not know what its classes are called.*expected: a ModelCard"):
        segmenter.save_pretrained(tmp_path)


def test_to_the_hub_go_three_files(hub: StandInHub, segmenter: Segmenter) -> None:
    url = segmenter.push_to_hub(NAME, CARD, private=True, license="apache-2.0")
    assert url.startswith(f"{hub.url}/{NAME}/commit/")
    files = hub.repositories[NAME]
    assert sorted(files) == ["README.md", "config.json", "model.safetensors"]
    assert hub.private[NAME] in (True, "private")
    page = files["README.md"].decode()
    assert f'semiseg.load("hf:{NAME}")' in page
    assert f"semiseg predict hf:{NAME} IMAGES" in page
    assert "DIR" not in page
    assert "Measured on 101 val images, as fractions, after 300 steps." in page
    assert "It learned `camvid` from 23 labeled and 344 unlabeled images by `unimatch_v2`." in page


def test_from_the_hub_come_two_files_and_nothing_that_could_be_run(published: StandInHub, segmenter: Segmenter) -> None:
    published.repositories[NAME] |= {"modeling.py": b"raise SystemExit", "pytorch_model.bin": b"\x80\x02."}
    loaded = Segmenter.from_pretrained(NAME)
    assert same(loaded, segmenter)
    assert loaded.card == CARD
    given = {line.rpartition("/")[2] for line in published.asked if line.startswith("GET /someone")}
    assert given == {"config.json", "model.safetensors"}


def test_what_is_in_the_cache_needs_no_hub(
    published: StandInHub, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    Segmenter.from_pretrained(NAME)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    published.asked.clear()
    assert same(Segmenter.from_pretrained(NAME), segmenter)
    assert published.asked == []


def test_offline_what_is_not_in_the_cache_is_said(published: StandInHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"(?s)someone/fields are not in the hub's cache.*HF_HUB_OFFLINE is set"):
        Segmenter.from_pretrained(NAME)
    assert published.asked == []


def test_a_model_that_is_not_there_is_said(hub: StandInHub) -> None:
    with pytest.raises(ModelError, match=r"(?s)someone/fields could not be loaded.*remedy: +check the name"):
        Segmenter.from_pretrained(NAME)


@pytest.mark.parametrize("name", ["../../etc", "a/b/c", "", "a b/c"])
def test_what_is_no_name_asks_nobody(hub: StandInHub, name: str) -> None:
    with pytest.raises(ModelError, match="no name of a model on the hub"):
        load_model(f"hf:{name}")
    assert hub.asked == []


def test_a_folder_of_that_name_comes_first(
    published: StandInHub, segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_model(Path(NAME), segmenter, replace(CARD, crop=32))
    found = Segmenter.from_pretrained(NAME)
    assert found.card is not None
    assert found.card.crop == 32
    assert published.asked == []


def test_who_may_not_write_is_told_to_log_in(
    hub: StandInHub, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match=r"(?s)could not be sent to the hub.*hf auth login"):
        segmenter.push_to_hub(NAME, CARD, token="may-read")


def test_every_verb_takes_a_model_of_the_hub(published: StandInHub, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (40, 24), "green").save(tmp_path / "photo.png")
    assert semiseg.load(f"hf:{NAME}@main", device="cpu").mask(tmp_path / "photo.png").shape == (24, 40)
    words = [f"hf:{NAME}", str(tmp_path / "photo.png"), "--out", str(tmp_path / "masks"), "--device", "cpu"]
    assert main(["predict", *words]) == 0
    assert (tmp_path / "masks" / "photo.png").is_file()


def test_the_verb_push_sends_the_model_of_a_run(
    hub: StandInHub, segmenter: Segmenter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(tmp_path / "run" / "model", segmenter, CARD)
    assert main(["push", str(tmp_path / "run"), NAME, "--license", "mit", "--json", str(tmp_path / "p.json")]) == 0
    assert f"{hub.url}/{NAME}/commit/" in capsys.readouterr().out
    sent = hub.repositories[NAME]["model.safetensors"]
    kept = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    assert hashlib.sha256(sent).digest() == hashlib.sha256(kept).digest()


def test_the_front_matter_is_what_the_hub_reads(segmenter: Segmenter, tmp_path: Path) -> None:
    segmenter.save_pretrained(tmp_path, CARD, license="apache-2.0")
    data = HubCard.load(tmp_path / "README.md").data
    assert (data.license, data.library_name, data.pipeline_tag) == ("apache-2.0", "semiseg", "image-segmentation")
    assert data.datasets == ["camvid"]
    assert {"semiseg", "unimatch_v2"} <= set(data.tags)
    [result] = data.eval_results
    assert (result.dataset_name, result.dataset_split) == ("camvid", "val")
    assert (result.metric_type, result.metric_value) == ("mean_iou", 0.7123)


def test_names_of_data_sets_cannot_act_on_the_front_matter() -> None:
    evil = "fields: [\\n'\"] # ---"
    assert CARD.training is not None
    read = yaml.safe_load(front_matter(replace(CARD, training=replace(CARD.training, dataset=evil))))
    assert read["model-index"][0]["results"][0]["dataset"]["name"] == evil
    assert "datasets" not in read  # the hub would refuse that name


def test_terms_of_the_encoders_weights_are_the_models_unless_another_licence_is_named() -> None:
    card = replace(CARD, model=ModelConfig(encoder="dinov3_small", license="dinov3"))
    read = yaml.safe_load(front_matter(card))
    assert (read["license"], read["license_name"]) == ("other", "dinov3-license")
    assert read["license_link"].startswith("https://ai.meta.com/")
    assert yaml.safe_load(front_matter(card, "mit"))["license"] == "mit"


def test_a_model_of_before_has_no_training(segmenter: Segmenter, tmp_path: Path) -> None:
    segmenter.save_pretrained(tmp_path, replace(CARD, training=None))
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('  "training": null,\n', "").replace('"version": 4', '"version": 2'))
    assert load_model(tmp_path)[1] == replace(CARD, training=None)
