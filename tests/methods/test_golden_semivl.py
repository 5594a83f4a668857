"""Two training steps of SemiVL against its public loop, on inputs and weights that are redrawn by a rule.

The loop's own lines, with the public network, loss functions and mmcv's optimizer, ran outside this repository in
float64 on the same weights, texts, crops, masks, strong views, boxes and dropped channels (google-research/semivl,
commit 13ee65d, with mmcv 1.4.4 and mmsegmentation 0.24.0 but for their compiled operators, which nothing here calls).
Only its figures are stored. It was given CLIP's mean and standard deviation of images, and the epsilon of CLIP's norms.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import fidelity  # benchmarks/fidelity.py
import pytest
from drawn import SCHEDULED  # tests/support/drawn.py
from small_semivl import ENCODER, SPEC, SmallSteps, ruled_semivl, small_clip  # tests/support/small_semivl.py

from semiseg.engine.config import OptimizerConfig
from semiseg.methods import ConsistencyConfig, SharedSettings
from semiseg.methods.semivl import SemiVLConfig
from semiseg.models.encoders import ENCODERS, EncoderSpec

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden/training_semivl.json").read_text())
# The stated 1e-4, of which the encoder has 0.01 and the decoder ten times. The public optimizer decays norms, too.
OPTIMIZER = OptimizerConfig(lr=1e-6, decoder_multiplier=1000, weight_decay=0.01, lr_batch=0)
NAMES = (
    (r"^encoder\.backbone\.pos_embed", "backbone.pos_embed"),
    (r"^encoder\.backbone\.blocks\.(\d)\.attn\.qkv\.", r"backbone.layers.\1.attn.attn.in_proj_"),
    (r"^encoder\.backbone\.blocks\.(\d)\.attn\.proj", r"backbone.layers.\1.attn.attn.out_proj"),
    (r"^decoder\.look", "decode_head.conv1"),
    (r"^decoder\.project_text", "decode_head.text_proj.0"),
    (r"^decoder\.reason\.(\d)\.layer\.self_attn", r"decode_head.layers.\1.transformer.attn.attn"),
    (r"^decoder\.reason\.(\d)\.layer\.linear1", r"decode_head.layers.\1.transformer.ffn.layers.0.0"),
    (r"^decoder\.project_skips\.(\d)", r"decode_head.skip_proj.\1.0"),
    (r"^decoder\.classifier", "decode_head.head"),
)
"""What changes by training, of every kind; our names, and the public ones."""


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> fidelity.Watched:
    shared = SharedSettings(consistency=ConsistencyConfig(threshold=GOLDEN["threshold"]))
    own = SemiVLConfig(guidance_threshold=GOLDEN["guidance_threshold"])
    with pytest.MonkeyPatch.context() as patch, fidelity.computing_in("float64"):
        patch.setitem(ENCODERS, ENCODER, EncoderSpec(build=small_clip, features=8, level_widths=(8, 8, 8, 8)))
        student = ruled_semivl(tmp_path_factory.mktemp("semivl"))
        stream: Any = SmallSteps()
        return fidelity.train("semivl", shared, student, stream, 2, SCHEDULED, SPEC, own, OPTIMIZER)


def test_losses_gradients_and_rates_are_the_published_ones(ours: fidelity.Watched) -> None:
    for found, golden in zip(ours.steps, GOLDEN["steps"], strict=True):
        assert golden["loss_s"] > 0.1
        assert golden["loss_g"] > 0.01
        exact = {name: value for name, value in golden.items() if name != "confident"}
        assert {name: found[name] for name in exact} == pytest.approx(exact, rel=1e-9)
        assert found["confident"] == pytest.approx(golden["confident"], rel=1e-6)


def test_weights_after_two_steps_are_the_published_ones(ours: fidelity.Watched) -> None:
    """One entry of every tensor of the kinds above: of 24 of the encoder, and of the decoder's."""
    compared = 0
    for key, tensor in ours.student.items():
        for pattern, name in NAMES:
            published, hits = re.subn(pattern, name, key)
            if hits:
                found = tensor.flatten()[tensor.numel() // 4].item()
                # The order in which a loss is added up moves a weight by 1.5e-12, as AdamW divides by tiny gradients.
                assert found == pytest.approx(GOLDEN["weights"][published], rel=0, abs=1e-11), key
                compared += 1
    assert compared == 25 + 2 + 2 + 8 + 4 + 4 + 2
