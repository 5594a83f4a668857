"""SemiVL in whole runs: a tiny CLIP and random texts, from training to the saved model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from semiseg.api import TrainedRun
from semiseg.data.scenes import CLASSES
from semiseg.errors import ModelError
from semiseg.models import build_segmenter, load_model
from semiseg.models.texts import embed_texts

TrainTiny = Callable[..., TrainedRun]
TINY_CLIP = ("--model.encoder", "clip_nano", "--model.decoder", "semivl")


def test_the_decoder_is_told_the_classes_of_the_data_set_and_the_log_says_how(train_tiny: TrainTiny) -> None:
    run = train_tiny("run", *TINY_CLIP, "--schedule.steps", "1", "--seed", "3").path
    model, card = load_model(run)
    texts_KC = embed_texts(CLASSES, model.encoder, card.model, seed=3)
    torch.testing.assert_close(model.decoder.get_buffer("text_KC"), texts_KC / texts_KC.norm(dim=1, keepdim=True))
    assert "text of each class: its name, as a RANDOM vector" in (run / "train.log").read_text()


def test_texts_that_cannot_be_had_leave_no_run_behind(train_tiny: TrainTiny, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file of text embeddings"):
        train_tiny("run", *TINY_CLIP, "--model.text", str(tmp_path / "none.safetensors"))
    assert not (tmp_path / "run").exists()


def test_attention_and_positions_learn_and_the_rest_of_the_encoder_stays(train_tiny: TrainTiny) -> None:
    words = ("--method", "semivl", *TINY_CLIP, "--model.trains", "attention")
    model, card = load_model(train_tiny("run", *words).path)
    fresh = build_segmenter(card.model, len(CLASSES)).encoder.state_dict()
    moved = {name for name, tensor in model.encoder.state_dict().items() if not torch.equal(tensor, fresh[name])}
    assert moved == {name for name in fresh if ".attn." in name or "pos_embed" in name}
