from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import semiseg
from semiseg import cli
from semiseg.api import TrainedRun
from semiseg.cli import VERBS, main
from semiseg.cli.settings_help import field_docs, settings_help
from semiseg.config import config_class, keys_of
from semiseg.engine.training import TrainingResult
from semiseg.errors import DataError
from semiseg.methods import METHODS
from semiseg.prediction import PredictionSummary

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def train_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Replace the training by a note of what it was called with."""
    call: dict[str, Any] = {}

    def train(config: Any, *, resume: bool) -> TrainedRun:
        call.update(config=config, resume=resume)
        return TrainedRun(tmp_path / "run", TrainingResult(0.5, 20, 30, 1.5))

    monkeypatch.setattr("semiseg.api.train", train)
    monkeypatch.setattr("semiseg.data.source.open_source", lambda config: None)
    monkeypatch.setattr("semiseg.data.source.find_lists", lambda source: None)
    return call


def refused(capsys: Captured, *words: str) -> str:
    """Run a command that must end with code 2 and one readable message; return the message."""
    assert main(words) == 2
    output = capsys.readouterr()
    assert output.err.startswith("error: ")
    assert "remedy:" in output.err
    assert "Traceback" not in output.err + output.out
    return output.err


# Without a verb


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_the_usage_names_every_verb(words: list[str], capsys: Captured) -> None:
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert all(f"semiseg {verb}" in shown for verb in VERBS)


def test_the_version_is_that_of_the_package(capsys: Captured) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{semiseg.__version__}\n"


def test_an_unknown_verb_is_refused_with_the_closest(capsys: Captured) -> None:
    assert "unknown verb 'trian'; did you mean 'train'?" in refused(capsys, "trian")
    assert "unknown verb '--resume'" in refused(capsys, "--resume", "train")


def test_the_words_of_the_process_are_the_default(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr("sys.argv", ["semiseg", "--version"])
    assert main() == 0
    assert capsys.readouterr().out == f"{semiseg.__version__}\n"


# Every verb


@pytest.mark.parametrize("verb", sorted(VERBS))
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_every_verb_explains_itself(verb: str, option: str, capsys: Captured) -> None:
    assert main([verb, option]) == 0
    output = capsys.readouterr()
    assert f"semiseg {verb}" in output.out
    assert "--json FILE" in output.out
    assert output.err == ""


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_refuses_an_unknown_option_and_a_folder_for_its_result(
    verb: str, capsys: Captured, tmp_path: Path
) -> None:
    needed = {
        "predict": ["x", "x", "--out", "x"],
        "convert": ["x", "x"],
        "export": ["x", "--out", "x"],
        "completion": ["bash"],
        "distill": ["x", "--encoder", "x"],
        "push": ["x", "x/y"],
        "data": ["split", "x", "--labeled", "1"],
    }
    words = [verb, *needed.get(verb, [])]
    assert "--nonsense" in refused(capsys, *words, "--nonsense", "1")
    assert "is a folder" in refused(capsys, *words, "--json", str(tmp_path))
    assert "--json" in refused(capsys, verb, "--json")


@pytest.mark.parametrize(
    ("verb", "missing"), [("evaluate", "model"), ("predict", "model, images, --out"), ("report", "run")]
)
def test_what_a_verb_needs_is_named(verb: str, missing: str, capsys: Captured) -> None:
    message = refused(capsys, verb)
    assert missing in message
    assert f"see `semiseg {verb} -h`" in message


def test_an_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    def interrupt(words: list[str]) -> None:
        raise KeyboardInterrupt

    for verb in ("doctor", "train"):
        monkeypatch.setitem(cli.VERBS, verb, interrupt)
        assert main([verb]) == 130
        # Only a training has something to resume.
        assert ("--resume" in capsys.readouterr().err) == (verb == "train")


def test_a_file_that_cannot_be_written_ends_with_2_and_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in refused(capsys, "recipes", "--json", str(tmp_path / "file" / "x.json"))


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(words: list[str]) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setitem(cli.VERBS, "doctor", fail)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        main(["doctor"])


def test_as_a_process_bad_input_is_2_on_stderr_alone_and_help_needs_no_library() -> None:
    bad = subprocess.run([sys.executable, "-m", "semiseg", "trian"], capture_output=True, text=True, timeout=120)
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.startswith("error: unknown verb 'trian'")
    code = (
        "import sys; from semiseg.cli import main; main([]); sys.exit(any(map(sys.modules.get, ('torch', 'pydantic'))))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120).returncode == 0


# train


@pytest.mark.parametrize("words", [["recipes"], ["--version"], ["train", "-h"]])
def test_who_stops_reading_hears_no_complaint(words: list[str], python: tuple[list[str], dict[str, str]]) -> None:
    """As in `semiseg recipes | head -n 1`."""
    reader, writer = os.pipe()
    os.close(reader)
    command, environment = python
    done = subprocess.run(
        [*command, "semiseg", *words], env=environment, stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_train_takes_recipe_options_and_overrides_in_any_order(
    train_call: dict[str, Any], capsys: Captured, tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "result.json"
    words = [
        "train",
        "camvid",
        "--seed",
        "7",
        "--json",
        str(out),
        "--schedule.steps=9",
        "--resume",
        "--data.split",
        "1_8",
    ]
    assert main(words) == 0
    config = train_call["config"]
    assert (config.recipe, config.seed, config.schedule.steps, config.data.split) == ("camvid", 7, 9, "1_8")
    assert train_call["resume"] is True
    shown = capsys.readouterr().out
    assert "best mIoU 50.00% at step 20" in shown
    assert str(tmp_path / "run" / "model") in shown
    assert json.loads(out.read_text()) == {
        "run": str(tmp_path / "run"), "best_miou": 0.5, "steps": 30, "seconds": 1.5
    }  # fmt: skip


def test_train_without_a_recipe_takes_the_default_one(train_call: dict[str, Any]) -> None:
    assert main(["train", "--seed", "7"]) == 0
    assert (train_call["config"].recipe, train_call["config"].seed, train_call["resume"]) == ("default", 7, False)


@pytest.mark.parametrize(("device", "recipe"), [("cuda", "default"), ("cpu", "laptop")])
def test_train_on_a_folder_takes_it_as_the_data_and_a_recipe_by_what_there_is_to_train_on(
    device: str, recipe: str, train_call: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(tmp_path), "--device", device]) == 0
    assert (train_call["config"].recipe, train_call["config"].data.root) == (recipe, str(tmp_path))
    assert ("no GPU: recipe laptop" in capsys.readouterr().out) == (recipe == "laptop")


def test_train_on_a_file_takes_it_as_the_recipe(train_call: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("seed: 5\ndata: {split: 1_8}\n")
    assert main(["train", str(tmp_path / "own.yaml"), "--data.crop", "28"]) == 0
    config = train_call["config"]
    assert (config.recipe, config.seed, config.data.split, config.data.crop) == ("own", 5, "1_8", 28)


@pytest.mark.parametrize("words", [["--resume", "camvid"], ["--seed", "3", "camvid"], ["camvid", "camvid"]])
def test_train_never_drops_a_word(words: list[str], train_call: dict[str, Any], capsys: Captured) -> None:
    assert "camvid" in refused(capsys, "train", *words)
    assert not train_call


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["camvit"], "no recipe 'camvit'; did you mean 'camvid'"),
        (["camvid", "--schedule.bacth", "4"], "unknown option --schedule.bacth; did you mean '--schedule.batch'"),
        (["camvid", "--seed", "x"], "seed cannot be 'x'"),
        (["camvid", "--resum"], "--resum"),
        (["camvid", "--seed"], "--seed"),
    ],
)
def test_train_names_what_is_wrong(words: list[str], says: str, train_call: dict[str, Any], capsys: Captured) -> None:
    assert says in refused(capsys, "train", *words)
    assert not train_call


def test_the_main_process_speaks_for_all(
    train_call: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: Captured, tmp_path: Path
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert main(["train", "--json", str(tmp_path / "t.json")]) == 0
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_val_images_says_so(
    train_call: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: Captured, tmp_path: Path
) -> None:
    monkeypatch.setattr("semiseg.api.train", lambda *_, **__: TrainedRun(tmp_path, TrainingResult(None, 0, 3, 1.0)))
    assert main(["train"]) == 0
    assert "done: not evaluated" in capsys.readouterr().out


def test_the_help_of_train_explains_every_key(capsys: Captured) -> None:
    assert main(["train", "camvid", "-h"]) == 0
    shown = capsys.readouterr().out
    for key in ("--resume", "--data.root", "--data.split", "--model.encoder", "--schedule.steps", "--optimizer.lr"):
        assert key in shown
    assert "Side of the training crop in pixels" in " ".join(shown.split())
    assert "(a whole number; default: 518)" in " ".join(shown.split())
    assert shown.count("usage:") == 1


def test_the_help_has_a_sentence_what_it_takes_and_the_default_of_every_key() -> None:
    flat = " ".join(settings_help().split())
    assert all(section in flat for section in ("Images and masks (data):", "Settings of FixMatch alone (fixmatch):"))
    assert f"--method {{{','.join(METHODS)}}}" in flat
    assert (
        "--schedule.steps N Length in optimizer steps; replaces `epochs`. (a whole number or null; default: null)"
        in flat
    )
    assert "--data.scale [X,X] Smallest" in flat
    for key, _ in keys_of(config_class()):
        _, _, entry = flat.partition(f"--{key} ")
        sentence, _, _ = entry.partition("; default: ")
        assert len(sentence) > 20, key
        assert " --" not in sentence, key


def test_a_class_made_at_run_time_is_explained_as_far_as_its_source_is_known() -> None:
    @dataclass
    class Base:
        speed: float = 0.5
        """How fast,
        100 % at most."""

    made = make_dataclass("Made", [("size", int, 1)], bases=(Base,))
    assert field_docs(made) == {"speed": "How fast, 100 % at most."}


# recipes


def test_recipes_are_listed_with_their_first_line(capsys: Captured, tmp_path: Path) -> None:
    assert main(["recipes", "--json", str(tmp_path / "r.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = json.loads((tmp_path / "r.json").read_text())
    recipes, published = found["recipes"], found["published"]
    assert [line.split()[0] for line in lines[: len(recipes)]] == list(recipes)
    assert {"default", "demo", "camvid", "camvid-cpu"} <= recipes.keys()
    assert all("#" not in line and len(line.split()) > 3 for line in lines)
    assert isinstance(recipes["camvid-cpu"]["schedule"]["steps"], int)
    assert lines[len(recipes)].split()[0] == str(found["published_count"]) == str(len(published))
    lines = lines[len(recipes) + 1 :]
    assert [line.split()[0] for line in lines[: len(published)]] == [run["recipe"] for run in published]
    assert [line.split()[0] for line in lines[len(published) + 1 :]] == [row["recipe"] for row in found["headlines"]]


def test_recipes_of_published_runs_are_found_by_the_beginning_of_their_name(capsys: Captured, tmp_path: Path) -> None:
    assert main(["recipes", "pascal/92", "--json", str(tmp_path / "r.json")]) == 0
    shown = capsys.readouterr().out
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["recipes"] == {}
    assert {run["recipe"].split("-")[0] for run in found["published"]} == {"pascal/92"}
    (best,) = [run for run in found["published"] if run["recipe"] == "pascal/92-unimatch_v2-dinov2_base"]
    assert best["run"] == "table01-pascal_unimatch_v2_92labels_dinov2_base"
    assert f"{best['recipe']} " in shown
    assert f"{best['best']:.2%}" in shown
    assert "did you mean 'pascal/92" in refused(capsys, "recipes", "pascla/92-unimatch")


def test_a_composed_recipe_is_printed_as_a_file_that_trains_the_same(capsys: Captured, tmp_path: Path) -> None:
    name = "coco/1_64-unimatch_v2-dinov2_large"
    assert main(["recipes", name, "--json", str(tmp_path / "r.json")]) == 0
    (tmp_path / "mine.yaml").write_text(capsys.readouterr().out)
    assert main(["recipes", str(tmp_path / "mine.yaml"), "--json", str(tmp_path / "again.json")]) == 0
    (first,) = json.loads((tmp_path / "r.json").read_text())["recipes"].values()
    (again,) = json.loads((tmp_path / "again.json").read_text())["recipes"].values()
    assert first == again
    assert first["recipe"] == name


def test_a_recipe_is_printed_as_it_is_written(capsys: Captured, tmp_path: Path) -> None:
    assert main(["recipes", "camvid"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("# CamVid")
    (tmp_path / "again.yaml").write_text(text)
    assert main(["recipes", str(tmp_path / "again.yaml")]) == 0
    assert capsys.readouterr().out == text
    assert "did you mean 'camvid'" in refused(capsys, "recipes", "camvit")


# slurm, data


def test_slurm_writes_a_script_and_says_how_to_submit_it(capsys: Captured, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    words = ["slurm", "pascal/92-unimatch_v2-dinov2_base", "--nodes", "2", "--gpus", "4", "--out", str(script)]
    assert main([*words, "--data.root", "/data/pascal", "--sbatch=--time=24:00:00"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("semiseg fetch pascal/92-unimatch_v2-dinov2_base --data.root /data/pascal  # before")
    assert said[1:] == [f"sbatch {script}"]
    assert "#SBATCH --nodes=2" in script.read_text()
    assert "#SBATCH --time=24:00:00" in script.read_text()
    assert "did you mean '--data.root'" in refused(capsys, *words, "--data.rooot", "x")


def test_data_lists_and_names_its_own_verbs(capsys: Captured) -> None:
    assert main(["data"]) == 0
    assert "semiseg data prepare" in capsys.readouterr().out
    assert "did you mean 'prepare'" in refused(capsys, "data", "prepar")
    assert "--labeled" in refused(capsys, "data", "split", "x")
    assert "pascal" in refused(capsys, "data", "prepare", "x", "--raw", "a", "--out", "b")


# With a trained model


def test_a_run_is_trained_evaluated_applied_and_reported(
    tiny_words: Callable[..., list[str]], tiny_scenes: Path, tmp_path: Path, capsys: Captured
) -> None:
    run, result = tmp_path / "x", tmp_path / "result.json"
    assert main(["train", *tiny_words("x"), "--json", str(result)]) == 0
    trained = json.loads(result.read_text())
    assert (trained["run"], trained["steps"]) == (str(run), 3)
    assert "done: best mIoU" in capsys.readouterr().out

    for model in (run, run / "model"):
        assert main(["evaluate", str(model), "--device", "cpu", "--json", str(result)]) == 0
        evaluated = json.loads(result.read_text())
        assert evaluated["miou"] == trained["best_miou"]
        assert np.mean(list(evaluated["iou"].values())) == pytest.approx(evaluated["miou"])
        assert np.sum(evaluated["confusion"]) <= 2 * 64 * 64
        assert f"{evaluated['miou']:7.2%}" in capsys.readouterr().out.splitlines()[-1]

    masks = tmp_path / "masks"
    words = ["predict", str(run), str(tiny_scenes / "images"), "--out", str(masks), "--json", str(result)]
    assert main([*words, "--device", "cpu"]) == 0
    assert "12 masks written" in capsys.readouterr().out
    first = sorted(masks.glob("*.png"))[0]
    assert Image.open(first).size == (64, 64)
    assert main([*words, "--device", "cpu"]) == 0
    assert (json.loads(result.read_text())["images"], json.loads(result.read_text())["skipped"]) == (0, 12)

    (run / "report.html").unlink()
    assert main(["report", str(run), "--json", str(result)]) == 0
    assert json.loads(result.read_text()) == {"report": str(run / "report.html")}
    assert (run / "report.html").is_file()


def test_evaluate_needs_the_folder_that_a_list_belongs_to(capsys: Captured) -> None:
    for words in (["--data.val", "x"], ["--data.spec", "camvid"], ["--data.max_pixels", "9"]):
        assert "--data.root" in refused(capsys, "evaluate", "x", *words)


def test_evaluate_hands_its_options_on(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    def evaluate(model: Path, data: Any, *, progress: object, **options: Any) -> None:
        raise DataError(f"{model} {data.root} {data.spec} {data.val} {options}", remedy="none")

    monkeypatch.setattr("semiseg.api.evaluate", evaluate)
    words = ["m", "--data.root", "r", "--data.spec", "s", "--data.val", "v", "--device", "cpu", "--precision", "bf16"]
    words += ["--protocol", "sliding", "--tile", "252", "--scales", "0.5", "1", "--flip"]
    options = {"device": "cpu", "precision": "bf16", "protocol": "sliding", "tile": 252, "scales": [0.5, 1.0]}
    options["flip"] = True
    assert f"m r s v {options}" in refused(capsys, "evaluate", *words)


@pytest.mark.parametrize("verb", ["evaluate", "report"])
def test_what_is_no_run_is_named(verb: str, capsys: Captured, tmp_path: Path) -> None:
    for name in (".", "missing"):
        assert str(tmp_path / name) in refused(capsys, verb, str(tmp_path / name))


def test_an_unusable_image_is_named_after_all_others_are_done(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured, tmp_path: Path
) -> None:
    summary = PredictionSummary(
        images=3,
        skipped=0,
        unreadable=((Path("bad.jpg"), "truncated"),),
        unpaired=(Path("A/old.png"),),
        georeferences_lost=2,
        seconds=1.0,
    )
    monkeypatch.setattr("semiseg.prediction.predict", lambda *_, **__: summary)
    assert main(["predict", "m", "i", "--out", "o", "--json", str(tmp_path / "s.json")]) == 2
    output = capsys.readouterr()
    assert "2 images could not be used; the masks of all others are written" in output.err
    assert "bad.jpg: truncated" in output.err
    assert "A/old.png: has no partner of its name" in output.err
    assert "2 GeoTIFFs lost their georeference; pip install 'semiseg[geo]' keeps it" in output.out
    found = json.loads((tmp_path / "s.json").read_text())
    assert found["unreadable"] == {"bad.jpg": "truncated"}
    assert (found["unpaired"], found["georeferences_lost"]) == (["A/old.png"], 2)


def test_predict_hands_its_options_on(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    def predict(*places: Path, progress: object, **options: Any) -> None:
        raise DataError(f"{[str(place) for place in places]} {options}", remedy="none")

    monkeypatch.setattr("semiseg.prediction.predict", predict)
    words = [
        "m",
        "a",
        "--second",
        "b",
        "--out",
        "o",
        "--tile",
        "252",
        "--max-pixels",
        "99",
        "--overlays",
        "--probabilities",
        "--overwrite",
        "--scales",
        "0.5",
        "1",
        "--flip",
    ]
    words += ["--device", "cpu", "--precision", "bf16"]
    options = {"second": Path("b"), "tile": 252, "scales": [0.5, 1.0], "flip": True, "max_pixels": 99}
    options |= {"overlays": True, "probabilities": True, "overwrite": True, "device": "cpu", "precision": "bf16"}
    assert f"['m', 'a', 'o'] {options}" in refused(capsys, "predict", *words)
    assert "'second': None, 'tile': None" in refused(capsys, "predict", "m", "a", "--out", "o")


def test_export_hands_its_options_on(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    def export(*places: Path, progress: object, data: Any, **options: Any) -> None:
        raise DataError(f"{[str(place) for place in places]} {data.root} {options}", remedy="none")

    monkeypatch.setattr("semiseg.exporting.export", export)
    words = ["m", "--out", "o.onnx", "--precision", "int8", "--size", "8", "16", "--check", "c", "--images", "9"]
    options = {"precision": "int8", "size": (8, 16), "check": Path("c"), "images": 9}
    assert f"['m', 'o.onnx'] r {options}" in refused(capsys, "export", *words, "--data.root", "r")
