"""The hub of weights that timm loads from, asked once: its client asks a dozen times before it gives up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants, get_session

from semiseg.errors import ModelError

_SECONDS = 10
"""How long the hub may take to answer at all."""


@contextmanager
def asking_the_hub(name: str) -> Iterator[None]:
    """Load weights of the hub in the block: from its cache alone, where the hub cannot be reached.

    Args:
        name: what is loaded, for the message.

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
            remedy="connect to the network, or set --model.weights FILE (a local file) or --model.weights random",
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
