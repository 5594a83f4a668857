"""The registry: each encoder by name, with the decoder sizes that go with it and the licence of its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import timm

from semiseg.download import RemoteFile, download
from semiseg.errors import ModelError, closest
from semiseg.models.encoders.base import Encoder, Four, NotPlainError
from semiseg.models.encoders.beit import BEiT
from semiseg.models.encoders.clip import CLIP, DetailedCLIP
from semiseg.models.encoders.licenses import LICENSES
from semiseg.models.encoders.meta import meta_file
from semiseg.models.encoders.package import EFFICIENTNET_LITE0, PackagedFile
from semiseg.models.encoders.plain import SAM, DINOv2, SmallViT, TimmEncoder
from semiseg.models.encoders.pyramids import EfficientNetLite, MiT, Pyramid, Xception
from semiseg.models.weights import load_strictly, read_tensors


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """An entry of the registry."""

    build: Callable[[bool], Encoder]
    """Builds the encoder; whether with the weights of the hub."""
    features: int
    """Channels of the decoder's fusion path."""
    level_widths: Four
    """Channels of the decoder's levels, shallow first."""
    on_hub: bool = True
    """Whether there are weights on the hub."""
    meta: RemoteFile | None = None
    """Meta's own file of the weights."""
    package: PackagedFile | None = None
    """The weights that an extra installs."""
    license: str | None = None
    """The name in `LICENSES` of what the weights are under, if they are not free for every use."""


LEVELS = {"small": (2, 5, 8, 11), "base": (2, 5, 8, 11), "large": (4, 11, 17, 23), "giant": (9, 19, 29, 39)}
"""The blocks whose outputs are the levels, by the size of a ViT; as published with UniMatch V2 for DINOv2."""

DECODERS: dict[str, tuple[int, Four]] = {
    "small": (64, (48, 96, 192, 384)),
    "base": (128, (96, 192, 384, 768)),
    "large": (256, (256, 512, 1024, 1024)),
    "giant": (384, (1536, 1536, 1536, 1536)),
}
"""Features and level widths by the size of the encoder. Published for DINOv2. For the other encoders of table 9 the
numbers of parameters are published, and these sizes give each of them to its last digit, encoder and total, with 21 and
with 150 classes; MiT-B5 and ResNet-152 with the sizes of `large`, whose levels need no resizing there."""


_CLIP = "vit_base_patch16_clip_quickgelu_224.openai"
"""OpenAI trained CLIP with a quick approximation of GELU, which timm has under a name of its own."""


def _sized(size: str, build: Callable[[bool], Encoder], license: str | None = None) -> EncoderSpec:
    features, level_widths = DECODERS[size]
    return EncoderSpec(build=build, features=features, level_widths=level_widths, license=license)


def _dinov2(size: str, *, registers: bool = False) -> EncoderSpec:
    build: Callable[[bool], Encoder] = partial(DINOv2, size, LEVELS[size])
    if registers:
        # Registers were trained with a position rule that timm shares: bicubic with antialias, to the exact size.
        name = f"vit_{size}_patch14_reg4_dinov2.lvd142m"
        build = partial(TimmEncoder, name, taken=LEVELS[size], init_values=1.0)
    features, level_widths = DECODERS[size]
    return EncoderSpec(build=build, features=features, level_widths=level_widths, meta=meta_file(size, registers))


def _dinov3(size: str) -> EncoderSpec:
    name = f"vit_{size}_patch16_dinov3.lvd1689m"
    return _sized(size, partial(TimmEncoder, name, taken=LEVELS[size], init_values=1.0), "dinov3")


def _beit(size: str) -> EncoderSpec:
    return _sized(size, partial(BEiT, f"beit_{size}_patch16_224.in22k_ft_in22k_in1k", LEVELS[size]))


def _sam(size: str) -> EncoderSpec:
    return _sized(size, partial(SAM, f"samvit_{size}_patch16.sa1b", taken=LEVELS[size]))


def _clip_with_texts(pretrained: bool, **options: int) -> CLIP:
    return CLIP(_CLIP, (0, 4), "ViT-B-16-quickgelu", pretrained, **options)


def _clip_with_resnet(pretrained: bool) -> DetailedCLIP:
    # v1c: the deep stem of 32-32-64 channels, as published for Cityscapes.
    return DetailedCLIP(_clip_with_texts(pretrained), "resnet101c.gluon_in1k", pretrained)


def _clip_nano(_: bool) -> CLIP:
    return _clip_with_texts(False, channels=24, embed_dim=32, depth=6, num_heads=2)


def _small(width: int, depth: int, heads: int, features: int, level_widths: Four) -> EncoderSpec:
    def build(_: bool) -> Encoder:
        return SmallViT(width, depth, heads)

    return EncoderSpec(build=build, features=features, level_widths=level_widths, on_hub=False)


ENCODERS: dict[str, EncoderSpec] = {
    **{f"dinov2_{size}": _dinov2(size) for size in LEVELS},
    **{f"dinov2_{size}_reg": _dinov2(size, registers=True) for size in LEVELS},
    **{f"dinov3_{size}": _dinov3(size) for size in ("small", "base", "large")},
    **{f"beit_{size}": _beit(size) for size in ("base", "large")},
    **{f"sam_{size}": _sam(size) for size in ("base", "large")},
    "clip_base": _sized("base", partial(TimmEncoder, _CLIP)),
    "clip_base_text": _sized("base", _clip_with_texts),
    "clip_base_text_resnet": _sized("base", _clip_with_resnet),
    **{f"mit_b{size}": _sized("large", partial(MiT, f"mit_b{size}"), "segformer") for size in range(6)},
    # Of timm's ResNets with 152 layers only the one with the deep 64-64-128 stem has the published 58.3 M parameters.
    "resnet152": _sized("large", partial(Pyramid, "resnet152s.gluon_in1k")),
    # The same stem; the last stage dilated. The encoders of UniMatch V1.
    "resnet50": _sized("large", partial(Pyramid, "resnet50s.gluon_in1k", output_stride=16)),
    "resnet101": _sized("large", partial(Pyramid, "resnet101s.gluon_in1k", output_stride=16)),
    "xception65": _sized("large", partial(Xception, "xception65.tf_in1k")),
    # A light decoder: from ImageNet's weights, on a CPU, the four levels of 24 to 320 channels need no more.
    "efficientnet_lite0": EncoderSpec(
        build=partial(EfficientNetLite, "tf_efficientnet_lite0.in1k"),
        features=32,
        level_widths=(24, 40, 80, 160),
        package=EFFICIENTNET_LITE0,
    ),
    "vit_nano": _small(width=32, depth=4, heads=2, features=16, level_widths=(16, 16, 32, 32)),
    "vit_micro": _small(width=48, depth=4, heads=2, features=24, level_widths=(24, 32, 48, 48)),
    "clip_nano": EncoderSpec(build=_clip_nano, features=16, level_widths=(16, 16, 32, 32), on_hub=False),
}
"""The encoders by name, closed but for `timm/NAME`."""


def encoder_spec(name: str) -> EncoderSpec | None:
    """Return the entry of `name`, None for a `timm/NAME` that timm knows.

    Raises:
        ModelError: neither the registry nor timm knows it.
    """
    if name in ENCODERS:
        return ENCODERS[name]
    prefix, _, timm_name = name.partition("/")
    # A name that timm's registry holds; its "hf-hub:" and "local-dir:" sources would fetch what a config names.
    if prefix == "timm" and ":" not in timm_name and "/" not in timm_name and timm.is_model(timm_name):
        return None
    raise ModelError(
        f"unknown encoder {name!r}{closest(name, ENCODERS)}",
        expected=f"one of {', '.join(ENCODERS)}, or timm/NAME",
        remedy="set --model.encoder to one of these",
    )


def needed_license(name: str) -> str | None:
    """Return the name in `LICENSES` of what the weights of an encoder are under, None if they are free for every use.

    Raises:
        ModelError: unknown encoder.
    """
    if spec := encoder_spec(name):
        return spec.license
    # timm's own note of the licence is missing in some of its releases.
    return "dinov3" if "dinov3" in name else None


def build_encoder(name: str, weights: str, license: str | None = None) -> Encoder:
    """Build an encoder and give it its weights.

    Args:
        name: a name of `ENCODERS` or "timm/NAME".
        weights: "hub", "meta" (Meta's own file), "package" (of an extra), "random" (from torch's global generator) or
            the path of a file.
        license: the name in `LICENSES` of the licence that the user accepts; needed for some weights.

    Raises:
        ModelError: unknown encoder, no such weights, weights that do not fit, or a licence that was not accepted.
    """
    spec = encoder_spec(name)
    _check_license(name, weights, license)
    if weights == "hub" and spec is not None and not spec.on_hub:
        raise ModelError(
            f"there are no published weights of {name}",
            expected="random or the path of a file",
            remedy="set --model.weights random",
        )
    file = _file(name, spec, weights)
    build = spec.build if spec else partial(_any_timm, name.partition("/")[2])
    encoder = build(weights == "hub")
    if file is not None:
        load_strictly(encoder.core(), encoder.adapt(read_tensors(file)), where=file)
    return encoder


def _any_timm(name: str, pretrained: bool) -> Encoder:
    """Build a plain ViT of timm, or else a pyramid."""
    try:
        return TimmEncoder(name, pretrained)
    except NotPlainError:
        return Pyramid(name, pretrained)


def _check_license(name: str, weights: str, accepted: str | None) -> None:
    if accepted is not None and accepted not in LICENSES:
        raise ModelError(
            f"unknown licence {accepted!r}{closest(accepted, LICENSES)}",
            expected=f"one of {', '.join(LICENSES)}",
            remedy="set --model.license to one of these, or leave it out",
        )
    needed = needed_license(name)
    if weights != "random" and needed is not None and needed != accepted:
        terms = LICENSES[needed]
        raise ModelError(
            f"the weights of {name} are under the {terms.title}, which you have to accept first",
            where=terms.url,
            remedy=f"read it, and if you accept it set --model.license {needed}",
        )


def _file(name: str, spec: EncoderSpec | None, weights: str) -> Path | None:
    """Return the file that the weights are read from, fetched first if it is Meta's own."""
    if weights in ("hub", "random"):
        return None
    if weights == "package":
        return _packaged(name, spec)
    if weights != "meta":
        return Path(weights)
    if spec is None or spec.meta is None:
        raise ModelError(
            f"there is no file of Meta's known for {name}",
            expected=f"one of {', '.join(other for other, entry in ENCODERS.items() if entry.meta)}",
            remedy="set --model.weights hub, or a path",
        )
    return download(spec.meta, ModelError)


def _packaged(name: str, spec: EncoderSpec | None) -> Path:
    """Return the file of weights that an extra installs."""
    if spec is None or spec.package is None:
        raise ModelError(
            f"no package carries weights of {name}",
            expected=f"one of {', '.join(other for other, entry in ENCODERS.items() if entry.package)}",
            remedy="set --model.weights hub, or a path",
        )
    return spec.package.find()
