"""The addresses of the page: what it is made of, the models, pictures, answers, and the queue."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from importlib.resources import files
from pathlib import PurePath
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from semiseg.app.models import Models
from semiseg.app.pictures import Pictures
from semiseg.app.queue import ACCEPTED, Queue
from semiseg.app.results import Result, Results, as_jpeg, predicted, suggested
from semiseg.errors import DataError, SemisegError
from semiseg.printable import printable

_PARTS = {
    "/": ("semiseg.app", "static/index.html", "text/html"),
    "/app.js": ("semiseg.app", "static/app.js", "text/javascript"),
    "/viewer.js": ("semiseg.app", "static/viewer.js", "text/javascript"),
    "/app.css": ("semiseg.app", "static/app.css", "text/css"),
    "/icon.svg": ("semiseg.app", "static/icon.svg", "image/svg+xml"),
    "/style.css": ("semiseg.reporting", "templates/style.css", "text/css"),
}
"""The files of the page; the style is that of reports."""

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Example:
    """A sample of the run to try the page on: its name, and its pictures'."""

    name: str
    pictures: tuple[str, ...]


class Site:
    """What the page asks for.

    Args:
        name: of the run.
        models: that can be asked.
        pictures: that can be shown.
        examples: val samples of the run.
        queue: the images to label next, if a queue was named.
        command: how to train with what was accepted.
    """

    def __init__(
        self,
        name: str,
        models: Models,
        pictures: Pictures,
        *,
        examples: tuple[Example, ...] = (),
        queue: Queue | None = None,
        command: str = "",
    ) -> None:
        self.name, self.models, self.pictures = name, models, pictures
        self.examples, self.queue, self.command = examples, queue, command
        self.results = Results()
        self._waiting = self._queued() if queue else []

    def routes(self) -> Starlette:
        """Return the application."""
        routes = [Route(path, _static(*part), methods=["GET"]) for path, part in _PARTS.items()]
        for path, method, endpoint in (
            ("/api/session", "GET", self.session),
            ("/api/pictures", "POST", self.upload),
            ("/api/pictures/{name}", "GET", self.picture),
            ("/api/results", "POST", self.predict),
            ("/api/results/{name}/maps", "GET", self.maps),
            ("/api/results/{name}/mask.png", "GET", self.mask),
            ("/api/queue", "GET", self.waiting),
            ("/api/queue/{number:int}/mask", "POST", self.suggested_mask),
            ("/api/queue/{number:int}", "POST", self.decide),
        ):
            routes.append(Route(path, _answering(endpoint), methods=[method]))
        return Starlette(routes=routes)

    async def session(self, request: Request) -> Response:
        """Say what the page is about."""
        card = self.models.card
        classes = zip(card.classes, card.palette, strict=True)
        return JSONResponse(
            {
                "run": printable(self.name),
                "frames": card.frames,
                "classes": [{"name": name, "colour": list(colour)} for name, colour in classes],
                "models": [
                    {"key": key, "label": shown.label, "detail": shown.detail}
                    for key, shown in self.models.shown.items()
                ],
                "suffixes": list(self.pictures.suffixes),
                "examples": [{"name": one.name, "pictures": list(one.pictures)} for one in self.examples],
                "queue": self.queue is not None,
            }
        )

    async def upload(self, request: Request) -> Response:
        """Take a picture in."""
        suffix = PurePath("x" + request.query_params.get("suffix", "")).suffix.lower()
        name, width, height = await self.pictures.receive(suffix, request.stream())
        return JSONResponse({"picture": name, "size": [width, height]})

    async def picture(self, request: Request) -> Response:
        """Return a picture as the model sees it."""
        shown = await run_in_threadpool(self.pictures.shown, request.path_params["name"])
        return Response(await run_in_threadpool(as_jpeg, shown), media_type="image/jpeg")

    async def predict(self, request: Request) -> Response:
        """Ask a model what it sees in a picture or a pair."""
        asked = _mapping(await request.json())
        names, key = asked["pictures"], str(asked["model"])
        if not isinstance(names, list) or key not in self.models.shown:
            raise KeyError(key)
        paths = [self.pictures.path(str(name)) for name in names]

        def ask() -> Result:
            with self.models.lock:
                return predicted(self.models.predictor(key), paths, self.pictures.max_pixels)

        return self._kept(await run_in_threadpool(ask))

    async def maps(self, request: Request) -> Response:
        """Return class ids and confidence, a byte each."""
        return Response(self.results[request.path_params["name"]].maps(), media_type="application/octet-stream")

    async def mask(self, request: Request) -> Response:
        """Return the mask as a file to keep."""
        content = await run_in_threadpool(self.results[request.path_params["name"]].png, self.models.card)
        return Response(
            content, media_type="image/png", headers={"Content-Disposition": 'attachment; filename="mask.png"'}
        )

    async def waiting(self, request: Request) -> Response:
        """Return the queue."""
        return self._decided(self._queue())

    async def suggested_mask(self, request: Request) -> Response:
        """Return the mask that came with a suggestion as an answer."""
        suggestion = self._queue().suggestions[request.path_params["number"]]
        if suggestion.mask is None:
            raise KeyError("mask")
        card, most = self.models.card, self.pictures.max_pixels
        return self._kept(await run_in_threadpool(suggested, suggestion.mask, card, most))

    async def decide(self, request: Request) -> Response:
        """Write down what a person has decided."""
        asked, number, queue = _mapping(await request.json()), request.path_params["number"], self._queue()
        if asked["decision"] == "accept":
            threshold = float(asked["threshold"])
            if not 0 <= threshold <= 1:
                raise KeyError("threshold")
            queue.accept(number, self.results[str(asked["result"])], threshold)
        else:
            {"reject": queue.reject, "reopen": queue.reopen}[asked["decision"]](number)
        return self._decided(queue)

    def _kept(self, result: Result) -> Response:
        facts = result.facts(len(self.models.card.classes))
        return JSONResponse({"result": self.results.keep(result), **facts})

    def _queue(self) -> Queue:
        if self.queue is None:
            raise KeyError("queue")
        return self.queue

    def _queued(self) -> list[dict[str, Any]]:
        return [
            {
                "name": printable(suggestion.name),
                "pictures": [self.pictures.know(path) for path in suggestion.frames],
                "score": round(suggestion.score, 4),
                "reasons": [printable(reason) for reason in suggestion.reasons],
                "mask": suggestion.mask is not None,
            }
            for suggestion in self._queue().suggestions
        ]

    def _decided(self, queue: Queue) -> Response:
        decisions = [queue.decisions.get(suggestion.name) for suggestion in queue.suggestions]
        entries = [{**entry, "decision": word} for entry, word in zip(self._waiting, decisions, strict=True)]
        return JSONResponse(
            {"entries": entries, "list": printable(str(queue.folder / ACCEPTED)), "command": printable(self.command)}
        )


def _static(package: str, path: str, kind: str) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return Response((files(package) / path).read_bytes(), media_type=kind)

    return endpoint


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("no mapping")
    return value


def _answering(endpoint: Endpoint) -> Endpoint:
    """Turn errors into answers that a person can read."""

    @wraps(endpoint)
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except DataError as error:
            return JSONResponse({"error": _said(error)}, 422)
        except SemisegError as error:
            return JSONResponse({"error": _said(error)}, 500)
        except (KeyError, IndexError):
            return JSONResponse({"error": "This is not known here any more: load the page again."}, 404)
        except (ValueError, TypeError, RecursionError):
            return JSONResponse({"error": "This is no request of the page."}, 400)

    return answer


def _said(error: SemisegError) -> str:
    """Return an error without the path, which means nothing to whoever dropped the file."""
    lines = [line.strip() for line in str(error).splitlines()]
    expected = [line.removeprefix("expected:").strip() for line in lines if line.startswith("expected:")]
    return f"{lines[0][:1].upper()}{lines[0][1:]}" + "".join(f"; expected: {line}" for line in expected[:1])
