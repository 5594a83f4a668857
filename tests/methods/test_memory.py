from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fidelity import apart, draws, rule_allspark  # benchmarks/fidelity.py
from torch import Tensor

from semiseg.methods.memory import SemanticMemory, channel_classes
from semiseg.models.necks.allspark import AllSpark

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/allspark.json").read_text())
D, K, SIDE = 64, 5, 7


def noise(name: str, *shape: int) -> Tensor:
    return torch.from_numpy(draws(name, shape).astype(np.float32))


@torch.no_grad()
def test_three_updates_give_the_published_queue_and_what_is_made_of_it() -> None:
    """The queues hold 64 channels and get 128 an update, so each of them is full after the third and starts over."""
    neck = AllSpark(D).train()
    rule_allspark(neck, "neck.")
    memory = SemanticMemory(
        noise("decoder.allspark.attn.kv_queue", K, D, SIDE * SIDE), torch.zeros(K, dtype=torch.int64)
    )
    for step in range(3):
        logits = noise(f"predicted{step}", 2, K, 41, 41)

        def sources(unlabeled_BND: Tensor, logits_BKHW: Tensor = logits) -> Tensor:
            maps_BDN = unlabeled_BND.transpose(1, 2)
            memory.push(maps_BDN, channel_classes(maps_BDN, logits_BKHW, (SIDE, SIDE)))
            return memory.sources()

        level = torch.cat([noise(f"{kind}{step}", 2, D, SIDE, SIDE) for kind in ("labeled", "unlabeled")])
        out = neck.learn([level, level, level, level], 2, sources)[3]
        assert apart(out, GOLDEN[f"memory/output{step}"]) < 1e-5
        assert memory.next_K.tolist() == GOLDEN[f"memory/pointers{step}"]
    assert apart(memory.maps_KDN, GOLDEN["memory/queue"]) < 1e-5


@torch.no_grad()
def test_the_first_update_is_the_published_one_also_while_warming_up() -> None:
    neck = AllSpark(D).train()
    rule_allspark(neck, "neck.")
    level = noise("unlabeled", 2, D, SIDE, SIDE)
    seen: list[Tensor] = []
    neck.learn([level] * 4, 0, lambda unlabeled: seen.append(unlabeled) or unlabeled)  # type: ignore[func-returns-value]
    maps_BDN = seen[0].transpose(1, 2)
    classes_BD = channel_classes(maps_BDN, noise("predicted", 2, K, 41, 41), (SIDE, SIDE))
    assert torch.bincount(classes_BD.flatten()).tolist() == GOLDEN["block/pointers1"]


def queues(memory: SemanticMemory) -> list[list[float]]:
    return memory.maps_KDN[:, :, 0].tolist()


def test_the_oldest_channel_goes_first() -> None:
    memory = SemanticMemory(torch.zeros(2, 3, 1), torch.zeros(2, dtype=torch.int64))
    numbers = torch.arange(1.0, 7).view(2, 3, 1)
    memory.push(numbers, torch.tensor([[0, 1, 0], [0, 0, 1]]))
    assert queues(memory) == [[5, 3, 4], [2, 6, 0]]
    assert memory.next_K.tolist() == [1, 2]
    memory.push(10 * numbers[:1], torch.tensor([[1, 1, 1]]))
    assert queues(memory) == [[5, 3, 4], [20, 30, 10]]
    assert memory.next_K.tolist() == [1, 2]


def test_images_pushed_one_by_one_leave_the_same_memory() -> None:
    maps, classes = torch.randn(6, 8, 4), torch.randint(0, 3, (6, 8))
    together, apart_ = (SemanticMemory.fresh(3, 8, 4, 0, torch.device("cpu")) for _ in range(2))
    together.push(maps, classes)
    for image in range(6):
        apart_.push(maps[image : image + 1], classes[image : image + 1])
    assert torch.equal(together.maps_KDN, apart_.maps_KDN)
    assert torch.equal(together.next_K, apart_.next_K)


def test_a_fresh_memory_is_noise_of_the_seed() -> None:
    state = torch.get_rng_state()
    first, again, other = (SemanticMemory.fresh(3, 16, 9, seed, torch.device("cpu")) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.maps_KDN, again.maps_KDN)
    assert not torch.equal(first.maps_KDN, other.maps_KDN)
    assert float(first.maps_KDN.std()) == pytest.approx(1, abs=0.1)
    assert not first.next_K.any()


def test_what_was_read_does_not_change_with_the_memory() -> None:
    memory = SemanticMemory(torch.zeros(1, 2, 3), torch.zeros(1, dtype=torch.int64))
    read = memory.sources()
    assert read.shape == (1, 3, 2)
    memory.push(torch.ones(1, 2, 3), torch.zeros(1, 2, dtype=torch.int64))
    assert not read.any()
    assert memory.sources().all()


def test_channels_are_sorted_by_the_shape_of_their_map_not_by_its_size() -> None:
    left, right = torch.zeros(2, 4, 4).unbind()
    left[:, :2], right[:, 2:] = 1, 1
    logits = torch.stack((left, 5 * right))[None]
    maps = torch.stack((9 * right, 0.1 * left, right + 0.2 * left)).flatten(1)[None]
    assert channel_classes(maps, logits, (4, 4)).tolist() == [[1, 0, 1]]
