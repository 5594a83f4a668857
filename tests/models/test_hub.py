from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from semiseg.errors import ModelError
from semiseg.models import ModelConfig, build_segmenter, hub

DINO = ModelConfig(encoder="dinov2_small", weights="hub")


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the empty cache of a hub of our own."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub, "_SECONDS", 0.5)
    return tmp_path / "hub"


class Server:
    """A server that accepts connections and never answers; it counts them."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.asked: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        try:
            while True:
                self.asked.append(self.socket.accept()[0])
        except OSError:
            pass

    def close(self) -> None:
        for connection in (self.socket, *self.asked):
            connection.close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    yield server
    server.close()


def test_a_hub_that_does_not_answer_is_asked_once(cache: Path, server: Server) -> None:
    with pytest.raises(ModelError, match=r"(?s)not in the hub's cache, and the hub cannot be reached.*weights FILE"):
        build_segmenter(DINO, 3)
    assert len(server.asked) == 1
    assert not constants.HF_HUB_OFFLINE, "another time it may be reached"


def test_a_hub_that_is_not_there_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    with pytest.raises(ModelError, match=rf"(?s)cannot be reached \(ConnectError.*where: +{url}, cache {cache}"):
        build_segmenter(DINO, 3)


def test_who_is_offline_on_purpose_asks_nobody(cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        build_segmenter(DINO, 3)
    assert server.asked == []
    assert constants.HF_HUB_OFFLINE


def test_weights_in_the_cache_need_no_hub(cache: Path, server: Server) -> None:
    torch.manual_seed(0)
    ours = build_segmenter(ModelConfig(encoder="dinov2_small", weights="random"), 3).encoder.core().state_dict()
    place = cache / "models--timm--vit_small_patch14_dinov2.lvd142m"
    (place / "snapshots/abc").mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs/main").write_text("abc")
    # The file is of the published grid, 37 x 37 patches, like ours.
    save_file({name: tensor.contiguous() for name, tensor in ours.items()}, place / "snapshots/abc/model.safetensors")
    found = build_segmenter(DINO, 3).encoder.core().state_dict()
    assert [name for name in ours if not torch.equal(found[name], ours[name])] == []
    assert len(server.asked) == 1
