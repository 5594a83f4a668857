from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, load_file
from torch import Tensor

from semiseg.engine import tensor_file
from semiseg.engine.tensor_file import HostCopy, write_tensors

TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int16, torch.uint8, torch.bool)


def tensor_of(kind: torch.dtype, shape: tuple[int, ...], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 200, shape, generator=generator).to(kind)


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    forms=st.lists(
        st.tuples(st.sampled_from(TYPES), st.lists(st.integers(0, 5), max_size=4).map(tuple)), min_size=1, max_size=8
    ),
    names=st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=5), min_size=8, max_size=8, unique=True),
)
def test_the_library_reads_what_was_written_and_the_hash_is_that_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, forms: list[tuple[torch.dtype, tuple[int, ...]]], names: list[str]
) -> None:
    tensors = {name: tensor_of(*form, seed) for seed, (name, form) in enumerate(zip(names, forms, strict=False))}
    tensors = {name: tensor for name, tensor in tensors.items() if name != "__metadata__"}
    path = tmp_path_factory.mktemp("tensors") / "a.safetensors"
    said = write_tensors(path, tensors)
    content = path.read_bytes()
    assert said == hashlib.sha256(content).hexdigest()
    assert_same(load(content), tensors)


def test_a_tensor_of_many_chunks_and_one_that_is_not_contiguous(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensor_file, "_CHUNK", 100)
    tensors = {"a": torch.randn(30, 20).t(), "b": torch.randn(2, 8, 3, 3).to(memory_format=torch.channels_last)}
    said = write_tensors(tmp_path / "a.safetensors", tensors)
    assert said == hashlib.sha256((tmp_path / "a.safetensors").read_bytes()).hexdigest()
    assert_same(load_file(tmp_path / "a.safetensors"), tensors)


def test_a_copy_holds_the_values_of_its_moment_and_its_room_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_file, "_ROOM", 256)
    live = {"a": torch.randn(10, 5).t(), "b": torch.tensor(3), "c": torch.zeros(0), "d": torch.randn(7).bfloat16()}
    expected = {name: tensor.clone() for name, tensor in live.items()}
    copies = HostCopy()
    first = copies.of(live)
    for tensor in live.values():
        tensor.add_(1)
    assert_same(first, expected)
    second = copies.of(live)
    assert_same(second, live)
    assert all(first[name].data_ptr() == second[name].data_ptr() for name in live)
    assert_same(copies.of({"other": torch.ones(3)}), {"other": torch.ones(3)})
