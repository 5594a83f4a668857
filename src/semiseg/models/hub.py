"""The hub: weights that timm loads from it, and our own models there. It is asked once, as its client tries long."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, constants, get_session, snapshot_download

from semiseg.errors import ModelError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
README = "README.md"
PREFIX = "hf:"
"""What a model of the hub begins with where a folder could stand, too: `hf:OWNER/NAME`."""

_NAME = re.compile(r"[a-zA-Z0-9][\w.-]*/[a-zA-Z0-9][\w.-]*", re.ASCII)

_REMEDY = "connect to the network, or set --model.weights FILE (a local file) or --model.weights random"

_SECONDS = 10
"""How long the hub may take to answer at all."""


@contextmanager
def asking_the_hub(name: str, remedy: str = _REMEDY) -> Iterator[None]:
    """Load weights of the hub in the block: from its cache alone, where the hub cannot be reached.

    Args:
        name: what is loaded, for the message.
        remedy: what to do where it cannot be had.

    Raises:
        ModelError: whatever goes wrong but a TypeError, of wrong options, which passes.
    """
    offline = constants.HF_HUB_OFFLINE
    silence = hub_silence()
    constants.HF_HUB_OFFLINE = silence is not None
    try:
        yield
    except TypeError:
        raise
    except Exception as error:
        # The hub's client raises whatever its HTTP library does; for the user it is one thing.
        if silence is None:
            what = f"the weights of {name} could not be loaded from the hub ({type(error).__name__}: {error})"
        else:
            what = f"the weights of {name} are not in the hub's cache, and the hub cannot be reached ({silence})"
        raise ModelError(
            what,
            where=f"{constants.ENDPOINT}, cache {constants.HF_HUB_CACHE}",
            remedy=remedy,
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = offline


def hub_silence() -> str | None:
    """Return why the hub cannot be reached, or None if it answers anything; asks once, for some seconds at most."""
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        get_session().head(constants.ENDPOINT, timeout=_SECONDS)
    except Exception as error:  # whatever the client's HTTP library raises
        return f"{type(error).__name__}: {error}"
    return None


def fetch_model(repo: str, *, revision: str | None = None, token: str | None = None) -> Path:
    """Bring a model of the hub into the hub's cache on this machine, or find it there.

    Only the configuration and the weights are fetched: nothing that could be run.

    Args:
        repo: `OWNER/NAME`.
        revision: branch, tag or commit; default: the newest.
        token: for a private model; default: what `hf auth login` or `HF_TOKEN` gives.

    Returns:
        The model directory.

    Raises:
        ModelError: no such name, or the model cannot be had.
    """
    _require_name(repo)
    remedy = "check the name, connect to the network, or log in for a private model (`hf auth login`)"
    with asking_the_hub(repo, remedy):
        folder = snapshot_download(
            repo,
            revision=revision,
            token=token,
            allow_patterns=[CONFIG, WEIGHTS],
            local_files_only=constants.HF_HUB_OFFLINE,
            endpoint=constants.ENDPOINT,
        )
    return Path(str(folder))


def upload_model(directory: Path, repo: str, *, private: bool | None, token: str | None, message: str) -> str:
    """Send the three files of a model directory to the hub, as one commit of a repository that is made if need be.

    Returns:
        The address of the commit.

    Raises:
        ModelError: no such name, or the hub refuses.
    """
    _require_name(repo)
    try:
        api = HfApi(endpoint=constants.ENDPOINT, token=token)
        api.create_repo(repo, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo,
            folder_path=directory,
            allow_patterns=[CONFIG, WEIGHTS, README],
            commit_message=message,
        )
    except Exception as error:  # whatever the client's HTTP library raises
        reason = next(iter(str(error).splitlines()), "")
        raise ModelError(
            f"the model could not be sent to the hub ({type(error).__name__}: {reason})",
            where=f"{constants.ENDPOINT}/{repo}",
            remedy="log in with a token that may write (`hf auth login`), check the name and the network",
        ) from error
    return str(commit.commit_url)


def _require_name(repo: str) -> None:
    if not _NAME.fullmatch(repo):
        raise ModelError(f"{repo!r} is no name of a model on the hub", expected="OWNER/NAME", remedy="correct the name")
