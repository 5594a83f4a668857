from __future__ import annotations

import importlib.machinery
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from semiseg.api import TrainedRun
from semiseg.engine import services
from semiseg.engine.services import Courier, LoggingConfig
from semiseg.errors import ConfigError


class Wandb(types.ModuleType):
    """Stands in for the client of Weights & Biases: keeps what it is told."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
        self.begun: list[dict[str, Any]] = []
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.id, self.finished, self.fails_at = "run1", 0, 10**9

    def init(self, **options: Any) -> Wandb:
        self.begun.append(options)
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        if step >= self.fails_at:
            raise RuntimeError("no such server\x1b[31m")
        self.logged.append((step, values))

    def finish(self) -> None:
        self.finished += 1


class Mlflow(types.ModuleType):
    """Stands in for the client of MLflow."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.__spec__ = importlib.machinery.ModuleSpec("mlflow", None)
        self.info = types.SimpleNamespace(run_id="run7")
        self.experiment, self.params, self.ended = "", {}, 0
        self.logged: list[tuple[int, dict[str, float]]] = []

    def set_experiment(self, name: str) -> None:
        self.experiment = name

    def start_run(self, run_name: str | None = None, run_id: str | None = None) -> Mlflow:
        return self

    def log_params(self, params: dict[str, str]) -> None:
        self.params = params

    def log_metrics(self, values: dict[str, float], step: int) -> None:
        self.logged.append((step, values))

    def end_run(self) -> None:
        self.ended += 1


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Wandb:
    client = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", client)
    return client


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Mlflow:
    client = Mlflow()
    monkeypatch.setitem(sys.modules, "mlflow", client)
    return client


def test_services_get_every_number_and_a_resumed_run_goes_on_in_its_own(
    wandb: Wandb,
    mlflow: Mlflow,
    train_tiny: Callable[..., TrainedRun],
    numbers: Callable[[Path], dict[tuple[int, str], float]],
) -> None:
    words = ("--logging.wandb", "fields", "--logging.mlflow", "trials")
    run = train_tiny("run", *words).path
    written = numbers(run)
    sent = {(step, name): value for step, values in wandb.logged for name, value in values.items()}
    assert written.items() <= sent.items()
    assert {(step, name.replace("&", "_")): value for (step, name), value in written.items()}.keys() <= {
        (step, name) for step, values in mlflow.logged for name in values
    }
    assert (wandb.begun[0]["project"], wandb.begun[0]["name"], wandb.finished) == ("fields", "run", 1)
    assert wandb.begun[0]["config"]["schedule"]["steps"] == 3
    assert (mlflow.experiment, mlflow.params["schedule.steps"], mlflow.ended) == ("trials", "3", 1)

    train_tiny("run", *words, resume=True)
    assert (wandb.begun[1]["id"], wandb.begun[1]["resume"]) == ("run1", "allow")


def test_a_service_that_fails_is_said_once_and_ends_no_training(
    wandb: Wandb, train_tiny: Callable[..., TrainedRun]
) -> None:
    wandb.fails_at = 1
    run = train_tiny("run", "--logging.wandb", "fields")
    assert run.result.steps == 3
    log = (run.path / "train.log").read_text()
    assert log.count("wandb fails (RuntimeError: no such server\\x1b[31m): the run goes on without it") == 1


def test_a_service_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_PATIENCE", 0.1)
    said: list[str] = []
    forever = threading.Event()
    courier = Courier("wandb", forever.wait, said.append)  # type: ignore[arg-type]
    for step in range(services._ROOM + 5):
        courier.write(step, {"train/loss": 1.0})
    courier.close()
    forever.set()
    assert said == ["wandb fails (it takes nothing any more): the run goes on without it"]


def test_a_client_that_is_not_installed_is_said_before_anything_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="mlflow is not installed"):
        LoggingConfig(mlflow="trials")
