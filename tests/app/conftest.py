from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from semiseg.api import recipe_config, train
from semiseg.app import App, opened_app


@pytest.fixture(scope="session")
def tiny_run(tiny_scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of one step with a teacher and a student."""
    words = [
        "--data.root",
        str(tiny_scenes),
        "--run.folder",
        str(tmp_path_factory.mktemp("runs")),
        "--run.name",
        "tiny",
    ]
    words += ["--schedule.steps", "1", "--schedule.batch", "2", "--data.crop", "32", "--data.workers", "0"]
    return train(recipe_config("demo", words)).path


@pytest.fixture
def queue(tiny_scenes: Path, tmp_path: Path) -> Path:
    """Return a folder of suggestions: three unlabeled scenes, of which the second has a name made to hurt a page."""
    names = (tiny_scenes / "unlabeled.txt").read_text().split()[:3]
    reasons = ["<img src=x onerror=alert(1)> far from every labeled image"]
    entries = [{"image": name, "score": 0.9 - place / 10, "reasons": reasons} for place, name in enumerate(names)]
    folder = tmp_path / "queue"
    folder.mkdir()
    (folder / "suggestions.json").write_text(json.dumps(entries))
    return folder


@pytest.fixture
def served(tiny_run: Path) -> Iterator[Callable[..., App]]:
    """Return `served(queue=.., others=..)`: the app of the tiny run, answering on a free port until the test ends."""
    with ExitStack() as open_apps:

        def start(run: Path = tiny_run, **options: object) -> App:
            app = open_apps.enter_context(opened_app(run, port=0, device="cpu", **options))
            thread = threading.Thread(target=app.serve)
            thread.start()
            open_apps.callback(thread.join)
            open_apps.callback(app.stop)
            return app

        yield start
