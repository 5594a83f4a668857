"""The verb app: a page of this machine that shows what a model sees."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from semiseg.cli.options import Parser, write_json
from semiseg.errors import ConfigError


def app_verb(words: list[str]) -> None:
    """Serve the page of a run until Ctrl-C."""
    if any(find_spec(name) is None for name in ("starlette", "uvicorn")):
        raise ConfigError("the page needs starlette and uvicorn", remedy="pip install 'semiseg[app]'")
    from semiseg.app import opened_app
    from semiseg.app.serving import PORT
    from semiseg.data.reading import MAX_PIXELS

    parser = Parser("app", "Show in a browser of this machine what a model sees; see docs/app.md.")
    parser.add_argument("run", type=Path, help="a run directory, or the model directory in it")
    help_ = "another run to compare with; may be given several times"
    parser.add_argument("--with", dest="others", type=Path, action="append", default=[], metavar="RUN", help=help_)
    help_ = "folder of `semiseg data suggest`: look through its images and accept or reject pseudo-labels"
    parser.add_argument("--queue", type=Path, metavar="FOLDER", help=help_)
    parser.add_argument("--port", type=int, default=PORT, help=f"default {PORT}; 0: any that is free")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--max-pixels", type=int, default=MAX_PIXELS, help="largest image that is opened, in pixels")
    options = parser.parse_args(words)
    with opened_app(
        options.run,
        options.others,
        options.queue,
        device=options.device,
        port=options.port,
        max_pixels=options.max_pixels,
    ) as app:
        print(f"open {app.url}\nthe address holds the key: it is for you alone. Ctrl-C ends it", flush=True)
        write_json(options.json, {"url": app.url})
        app.serve()
