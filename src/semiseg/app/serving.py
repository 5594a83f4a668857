"""The server of the page: on the loopback interface, for one person, until it is stopped."""

from __future__ import annotations

import secrets
import shlex
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import uvicorn

from semiseg.api import config_of_run
from semiseg.app.guard import Guard
from semiseg.app.models import Models, run_name
from semiseg.app.pictures import Pictures
from semiseg.app.queue import ACCEPTED, Queue
from semiseg.app.site import Example, Site
from semiseg.config import Config
from semiseg.data import find_judges
from semiseg.data.reading import MAX_PIXELS
from semiseg.engine.gallery import spread
from semiseg.engine.rundir import RunDirectory
from semiseg.errors import ConfigError, SemisegError
from semiseg.printable import printable

PORT = 8765
_EXAMPLES = 8
_HOST = "127.0.0.1"


class App:
    """A server that has its port and waits to be served.

    Attributes:
        url: what to open in a browser; it holds the key.
        site: what is served.
        listens_on: the address of this machine that the port is open on.
    """

    def __init__(self, site: Site, listening: socket.socket) -> None:
        self.listens_on, port = listening.getsockname()
        key = secrets.token_urlsafe(24)
        self.site = site
        self.url = f"http://{_HOST}:{port}/?key={key}"
        self._listening = listening
        self._server = uvicorn.Server(
            uvicorn.Config(
                Guard(site.routes(), port, key),
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                lifespan="off",
                ws="none",
                limit_concurrency=64,
                timeout_graceful_shutdown=3,
            )
        )

    def serve(self) -> None:
        """Answer until Ctrl-C or `stop`."""
        self._server.run(sockets=[self._listening])

    def stop(self) -> None:
        """End `serve`, which another thread runs."""
        self._server.should_exit = True


@contextmanager
def opened_app(
    run: Path | str,
    others: Sequence[Path | str] = (),
    queue: Path | str | None = None,
    *,
    device: str = "auto",
    port: int = PORT,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[App]:
    """Open the page of a run, to be served.

    Args:
        run: a run directory, or the model directory in it.
        others: more of them, to compare with, of the same classes.
        queue: the folder with the `suggestions.json` of `semiseg data suggest`.
        device: where the models run.
        port: on the loopback interface; 0: any that is free.
        max_pixels: the largest image that is decoded whole.

    Raises:
        ModelError: no model there.
        ConfigError: a model of other classes, or the port is taken.
        DataError: no suggestions in the folder.
    """
    models = Models(Path(run), [Path(other) for other in others], device)
    config = config_of_run(Path(run))
    root = Path(config.data.root) if config and config.data.root else None
    waiting = Queue(Path(queue), models.card, root) if queue is not None else None
    with TemporaryDirectory(prefix="semiseg-app-") as folder, _listening(port) as listening:
        pictures = Pictures(Path(folder), models.card, max_pixels)
        site = Site(
            run_name(Path(run)),
            models,
            pictures,
            examples=_examples(Path(run), config, pictures),
            queue=waiting,
            command=_command(waiting, root) if waiting else "",
        )
        yield App(site, listening)


def _listening(port: int) -> socket.socket:
    try:
        return socket.create_server((_HOST, port))
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"port {port} cannot be had ({error})", remedy="name another one with --port, or 0 for any that is free"
        ) from error


def _examples(run: Path, config: Config | None, pictures: Pictures) -> tuple[Example, ...]:
    """Return some val samples of the run, where its data is on this machine."""
    if config is None:
        return ()
    try:
        samples = find_judges(None, config.data, RunDirectory(run).data).val.samples
    except SemisegError:
        return ()
    there = [sample for sample in spread(samples, _EXAMPLES) if all(path.is_file() for path in sample.frames)]
    return tuple(
        Example(printable(sample.id), tuple(pictures.know(path) for path in sample.frames)) for sample in there
    )


def _command(queue: Queue, root: Path | None) -> str:
    """Return how to train with what was accepted."""
    words = ["semiseg", "train", str(root or "FOLDER"), "--data.accepted", str(queue.folder / ACCEPTED)]
    return shlex.join([*words, "--data.accept_predicted", "true"])
