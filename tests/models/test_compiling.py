"""Compiled blocks and decoder are the same network, with the same keys."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from semiseg import assembly
from semiseg.api import recipe_config, train
from semiseg.errors import ConfigError
from semiseg.models import ModelConfig, Segmenter, as_written, build_segmenter, compile_parts


def learned(model: Segmenter, images_BTCHW: Tensor) -> tuple[Tensor, list[Tensor]]:
    model.zero_grad()
    loss = model(images_BTCHW).square().mean()
    loss.backward()
    return loss.detach(), [p.grad for p in model.parameters() if p.grad is not None]


def test_losses_and_gradients_are_those_of_the_network_as_written() -> None:
    """Traced and differentiated as for inductor, which would take half a minute for its kernels."""
    torch.compiler.reset()
    plain = build_segmenter(ModelConfig(encoder="vit_nano", weights="random", features=8), num_classes=3).train()
    compiled, images_BTCHW = copy.deepcopy(plain), torch.randn(2, 1, 3, 32, 32)
    compile_parts(compiled, "aot_eager")
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    (loss, gradients), (its_loss, its_gradients) = learned(plain, images_BTCHW), learned(compiled, images_BTCHW)
    torch.testing.assert_close(its_loss, loss, rtol=1e-5, atol=0)
    torch.testing.assert_close(its_gradients, gradients, rtol=1e-3, atol=1e-5)


def test_an_evaluation_compiles_nothing() -> None:
    torch.compiler.reset()
    seen: list[Any] = []

    def watched(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        seen.append(graph)
        return graph.forward

    model: Any = build_segmenter(ModelConfig(encoder="vit_nano", weights="random", features=8), num_classes=3).eval()
    compile_parts(model, watched)
    with torch.no_grad(), as_written():
        model(torch.randn(1, 1, 3, 40, 32))
    assert not seen
    with torch.no_grad():
        model(torch.randn(1, 1, 3, 40, 32))
    assert seen


def test_without_a_compiler_it_is_refused(
    monkeypatch: pytest.MonkeyPatch, tiny_words: Callable[..., list[str]], tmp_path: Path
) -> None:
    monkeypatch.setattr(assembly, "_COMPILERS", ("no-such-compiler",))
    folder, *words = tiny_words("x", "--schedule.compile", "true")
    with pytest.raises(ConfigError, match="no C\\+\\+ compiler"):
        train(recipe_config(folder, words))
    assert not (tmp_path / "x").exists()
