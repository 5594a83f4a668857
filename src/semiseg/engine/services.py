"""Weights & Biases and MLflow: whoever keeps runs there gets the numbers of `metrics.csv` there, too.

Their clients are in no extra of this package: who has a service has its client. Each is spoken to in a thread of its
own, so that a service that fails or hangs neither ends nor slows a training.
"""

from __future__ import annotations

import json
import queue
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from semiseg.errors import ConfigError
from semiseg.files import read_json, write_text
from semiseg.printable import printable

_ROOM = 10_000
"""Calls that wait for a slow service; with more it is given up."""
_PATIENCE = 30.0
"""Seconds that the end of a training waits for a service to take what it was sent."""


@dataclass(frozen=True, kw_only=True)
class LoggingConfig:
    """Services that are sent the numbers of a run, beside its own files."""

    wandb: str | None = None
    """Project of Weights & Biases. Default: none. `wandb login` before, or WANDB_MODE=offline."""
    mlflow: str | None = None
    """Experiment of MLflow, on the server that MLFLOW_TRACKING_URI names. Default: none."""

    def __post_init__(self) -> None:
        for name in ("wandb", "mlflow"):
            if getattr(self, name) is not None and find_spec(name) is None:
                raise ConfigError(
                    f"{name} is not installed", where=f"logging.{name}", remedy=f"pip install {name}, or leave it out"
                )


class Service(Protocol):
    """What is done with a service, all in one thread; whatever it raises is said once, and it is left out."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Send numbers."""

    def close(self) -> None:
        """End the run there."""


class Wandb:
    """A run of Weights & Biases; a resumed training goes on in it."""

    def __init__(self, project: str, run: Path, config: Mapping[str, Any], known: str | None) -> None:
        settings = {"project": project, "name": run.resolve().name, "dir": str(run), "config": dict(config)}
        self._run = import_module("wandb").init(**settings, id=known, resume="allow" if known else None)
        self.id = str(self._run.id)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Send numbers."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """End the run there."""
        self._run.finish()


class Mlflow:
    """A run of MLflow; a resumed training goes on in it."""

    def __init__(self, experiment: str, run: Path, config: Mapping[str, Any], known: str | None) -> None:
        mlflow: Any = import_module("mlflow")
        mlflow.set_experiment(experiment)
        started = mlflow.start_run(run_id=known) if known else mlflow.start_run(run_name=run.resolve().name)
        self._mlflow, self.id = mlflow, str(started.info.run_id)
        if not known:
            # Here, as settings are read without torch.
            from semiseg.engine.rundir import flatten

            mlflow.log_params({name: str(value)[:500] for name, value in flatten(dict(config)).items()})

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Send numbers, under names of the letters that MLflow takes."""
        self._mlflow.log_metrics({re.sub(r"[^\w\-. /]", "_", name): value for name, value in values.items()}, step=step)

    def close(self) -> None:
        """End the run there."""
        self._mlflow.end_run()


_KINDS: dict[str, Callable[[str, Path, Mapping[str, Any], str | None], Wandb | Mlflow]] = {
    "wandb": Wandb,
    "mlflow": Mlflow,
}


def open_services(
    asked: LoggingConfig, run: Path, config: Mapping[str, Any], say: Callable[[str], object]
) -> list[Courier]:
    """Begin or continue the run with each service that was asked for.

    Args:
        asked: which.
        run: the run directory, which remembers under which name a service knows the run.
        config: the whole configuration, as plain values.
        say: is told of a service that fails.
    """
    named = {name: getattr(asked, name) for name in _KINDS if getattr(asked, name) is not None}
    return [Courier(name, lambda name=name: _begun(name, named[name], run, config), say) for name in named]  # type: ignore[misc]


def _begun(name: str, project: str, run: Path, config: Mapping[str, Any]) -> Service:
    path = run / f"{name}.json"
    known = str(read_json(path)["run"]) if path.is_file() else None
    service = _KINDS[name](project, run, config, known)
    write_text(path, json.dumps({"run": service.id}) + "\n")
    return service


class Courier:
    """Takes numbers to a service, in a thread of its own.

    Args:
        name: of the service.
        begin: opens it.
        say: is told, once, that it fails.
    """

    def __init__(self, name: str, begin: Callable[[], Service], say: Callable[[str], object]) -> None:
        self.name, self._begin, self._say = name, begin, say
        self._calls: queue.Queue[tuple[int, Mapping[str, float]] | None] = queue.Queue(_ROOM)
        self._failure: str | None = None
        self._failed = False
        self._thread = threading.Thread(target=self._work, daemon=True, name=name)
        self._thread.start()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Send numbers, as soon as the service takes them; of one that fails the first call says so."""
        self._tell()
        if not self._failed:
            try:
                self._calls.put_nowait((step, dict(values)))
            except queue.Full:
                self._failure = "it takes nothing any more"
                self._tell()

    def close(self) -> None:
        """Wait a while until the service has all."""
        if not self._failed:
            try:
                self._calls.put(None, timeout=_PATIENCE)
                self._thread.join(_PATIENCE)
            except queue.Full:
                pass
            if self._thread.is_alive() and self._failure is None:
                self._failure = f"it has not taken everything within {_PATIENCE:.0f} s"
        self._tell()

    def _tell(self) -> None:
        if self._failure is not None and not self._failed:
            self._failed = True
            self._say(f"{self.name} fails ({printable(self._failure)}): the run goes on without it")

    def _work(self) -> None:
        try:
            service = self._begin()
            while (call := self._calls.get()) is not None:
                service.write(*call)
            service.close()
        except BaseException as error:  # whatever a service raises, sys.exit included
            self._failure = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}"
