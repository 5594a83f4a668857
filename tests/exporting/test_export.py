"""A model as one file: what it says of itself, and that it says what the model says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from semiseg.data.palette import default_palette
from semiseg.errors import ConfigError, ModelError
from semiseg.exporting import Exported, export
from semiseg.exporting.graph import Graph, trace
from semiseg.exporting.onnx_file import to_fp16, to_int8, to_onnx, write_onnx
from semiseg.exporting.whole_operations import translations, with_whole_operations
from semiseg.models import ModelCard, ModelConfig, build_segmenter, save_model
from semiseg.prediction import Predictor

onnx = pytest.importorskip("onnx", reason="onnx (the extra export) is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime (the extra export) is not installed")

Run = Callable[..., NDArray[np.float32]]


def save(directory: Path, encoder: str, frames: int) -> Path:
    config = ModelConfig(encoder=encoder, weights="random", features=16, level_widths=(8, 16, 16, 16))
    card = ModelCard(
        classes=("field", "road", "water"), palette=default_palette(3), frames=frames, crop=40, model=config
    )
    save_model(directory, build_segmenter(config, 3, frames), card)
    return directory


def photo(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def opened(path: Path) -> Run:
    """Run a file as somebody without our package would."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(*frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        names = [entry.name for entry in session.get_inputs()]
        feeds = {
            name: frame.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
            for name, frame in zip(names, frames, strict=True)
        }
        return session.run(None, feeds)[0]

    return run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("vit"), "vit_nano", 1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed, size in enumerate([(45, 61), (32, 40), (40, 24)]):
        Image.fromarray(photo(seed, *size)).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def exported(model: Path, photos: Path) -> Exported:
    return export(model, photos.parent / "model.onnx", check=photos)


def test_the_file_scores_pictures_of_any_size_as_the_model_does(exported: Exported, model: Path) -> None:
    predictor, run = Predictor.load(model, "cpu", "fp32"), opened(exported.path)
    for batch, height, width in [(1, 45, 61), (3, 32, 40), (2, 9, 100)]:
        pictures = [photo(seed, height, width) for seed in range(batch)]
        found = run(np.stack(pictures))
        expected = np.stack([predictor.scores(picture).numpy() for picture in pictures])
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_was_written_is_held_against_the_model_on_the_pictures(exported: Exported) -> None:
    held = exported.comparison
    assert (held.pictures, held.size, exported.size) == (3, (45, 61), None)
    assert 0 <= held.largest_difference < 1e-5
    assert held.classes_differ < 0.01
    assert min(held.torch_ms, held.exported_ms) > 0
    assert exported.bytes == exported.path.stat().st_size
    text = "\n".join(exported.lines())
    assert "pictures of any size" in text
    assert "against the model in fp32, 3 pictures" in text


def test_the_code_of_the_documentation_opens_it(
    exported: Exported, photos: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (repository / "docs" / "export.md").read_text()
    code = text.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "model.onnx").write_bytes(exported.path.read_bytes())
    Image.open(photos / "0.png").save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(code, "export.md", "exec"), names)
    assert names["classes"] == ["field", "road", "water"]
    assert names["mask"].shape == (45, 61)


def test_the_file_says_how_it_is_used(exported: Exported) -> None:
    facts = {entry.key: entry.value for entry in onnx.load(exported.path).metadata_props}
    assert json.loads(facts["classes"]) == ["field", "road", "water"]
    assert json.loads(facts["palette"]) == [list(colour) for colour in default_palette(3)]
    assert (facts["patch"], facts["precision"]) == ("8", "fp32")
    assert "float32 RGB from 0 to 1" in facts["input"]
    [entry] = onnxruntime.InferenceSession(exported.path).get_inputs()
    assert (entry.name, entry.shape) == ("images", ["batch", 3, "height", "width"])


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_smaller_file_differs_little_and_keeps_what_it_says(
    exported: Exported, tmp_path: Path, precision: str
) -> None:
    whole = onnx.load(exported.path)
    picture = photo(0, 48, 64)[None]
    feed = {"images": picture.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)}
    small = to_fp16(whole) if precision == "fp16" else to_int8(whole, [feed])
    write_onnx(small, tmp_path / "small.onnx")
    assert (tmp_path / "small.onnx").stat().st_size < 0.8 * exported.bytes
    expected, found = opened(exported.path)(picture), opened(tmp_path / "small.onnx")(picture)
    assert 0 < np.abs(found - expected).max() < 0.2 * np.abs(expected).max()
    assert {entry.key for entry in small.metadata_props} >= {"classes", "patch"}


def test_a_pair_has_two_inputs(tmp_path: Path) -> None:
    model = save(tmp_path / "pairs", "timm/test_resnet.r160_in1k", 2)
    found = export(model, tmp_path / "pairs.onnx")
    assert found.comparison.largest_difference < 1e-4
    assert "noise" in found.notes[0]
    before, after = photo(0, 50, 70), photo(1, 50, 70)
    expected = Predictor.load(model, "cpu", "fp32").scores(before, after).numpy()
    np.testing.assert_allclose(opened(found.path)(before[None], after[None])[0], expected, atol=1e-4)


def test_torch_export_writes_a_program_of_one_size(model: Path, photos: Path, tmp_path: Path) -> None:
    found = export(model, tmp_path / "model.pt2", size=(20, 24), check=photos)
    assert found.size == (20, 24)
    assert found.comparison.largest_difference < 1e-5
    about: dict[str, Any] = {"semiseg.json": ""}
    program = torch.export.load(tmp_path / "model.pt2", extra_files=about)
    assert program.module()(torch.rand(2, 3, 20, 24)).shape == (2, 3, 20, 24)
    assert json.loads(about["semiseg.json"])["classes"] == ["field", "road", "water"]


def test_the_padding_same_is_one_operation_for_any_size(tmp_path: Path) -> None:
    network = nn.Sequential(Conv2dSame(3, 4, 3, stride=2, bias=True), Conv2dSame(4, 4, 5, stride=2, groups=4))
    free = torch.export.Dim.AUTO
    with torch.no_grad():
        program = torch.export.export(
            with_whole_operations(network), (torch.rand(2, 3, 21, 34),), dynamic_shapes=({0: free, 2: free, 3: free},)
        )
    written = torch.onnx.export(
        program, dynamo=True, verbose=False, input_names=["images"], custom_translation_table=translations()
    )
    assert written is not None
    written.save(str(tmp_path / "same.onnx"))
    session = onnxruntime.InferenceSession(tmp_path / "same.onnx")
    for height, width in [(21, 34), (20, 33), (7, 64)]:
        images = torch.rand(1, 3, height, width)
        with torch.no_grad():
            expected = network(images).numpy()
        np.testing.assert_allclose(session.run(None, {"images": images.numpy()})[0], expected, atol=1e-5)


@pytest.mark.parametrize("encoder", ["dinov2_small", "efficientnet_lite0"])
def test_an_encoder_of_the_recipes_says_the_same_for_pictures_of_any_size(encoder: str, tmp_path: Path) -> None:
    config = ModelConfig(encoder=encoder, weights="random", features=8, level_widths=(8, 8, 8, 8))
    segmenter = build_segmenter(config, 3).eval()
    inside: Any = segmenter.encoder
    if encoder == "dinov2_small":  # four of its blocks are enough, with positions that show
        inside.backbone.blocks, inside.taken = inside.backbone.blocks[:4], (0, 1, 2, 3)
        nn.init.normal_(inside.backbone.pos_embed)
    else:  # the first block of each stage
        for stage in inside.backbone.blocks:
            del stage[1:]
    card = ModelCard(classes=("a", "b", "c"), palette=default_palette(3), crop=112, model=config)
    write_onnx(to_onnx(trace(segmenter, None), card, {}), tmp_path / "model.onnx")
    session, graph = onnxruntime.InferenceSession(tmp_path / "model.onnx"), Graph(segmenter, fixed=False)
    for batch, height, width in [(2, 70, 101), (1, 224, 160), (1, 518, 518)]:  # the last is DINOv2's own grid
        images = torch.rand(batch, 3, height, width)
        with torch.no_grad():
            expected = graph(images).numpy()
        found = session.run(None, {"images": images.numpy()})[0]
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_a_program_that_takes_one_size_alone_is_not_written_as_one_of_any(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.export.export

    def of_one_size(*words: Any, **_: Any) -> Any:
        return real(*words)

    monkeypatch.setattr("torch.export.export", of_one_size)
    with pytest.raises(ModelError, match=r"(?s)for pictures of any size.*--size 128 128"):
        export(model, tmp_path / "model.pt2")
    assert not (tmp_path / "model.pt2").exists()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("model.pth", {}, "no format goes by the suffix '.pth'"),
        ("model.pt2", {"precision": "int8"}, "a .pt2 of int8 cannot be written"),
        ("model.onnx", {"size": (0, 8)}, "size 0 x 8"),
        ("model.onnx", {"precision": "int8"}, "int8 needs pictures"),
    ],
)
def test_what_cannot_be_is_refused(
    model: Path, tmp_path: Path, name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        export(model, tmp_path / name, **options)


def test_without_the_extra_it_says_how_to_install_it(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semiseg.exporting.onnx_file.find_spec", lambda name: None if name == "onnx" else object())
    with pytest.raises(ModelError, match=r"needs onnx, .*\n.*pip install 'semiseg\[export\]'"):
        export(model, tmp_path / "model.onnx")


def test_a_network_that_cannot_be_traced_is_named(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("data dependent")

    monkeypatch.setattr("torch.export.export", fail)
    with pytest.raises(ModelError, match=r"(?s)vit_nano with dpt cannot be exported.*data dependent.*--size 128 128"):
        export(model, tmp_path / "model.onnx")
