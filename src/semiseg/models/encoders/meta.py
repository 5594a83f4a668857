"""Meta's own files of DINOv2, for those who do not want timm's copies."""

from __future__ import annotations

from semiseg.download import RemoteFile

# The hashes are those that finegrain-ai/refiners checks these very files against (src/refiners/conversion/models/
# dinov2.py at commit 30dbf44bab629e95713689d0d6b4289311baaae7). Hashes and sizes agree with the Git LFS pointers of
# huggingface.co/junjiexv/dinov2_vit (S, L) and huggingface.co/msdkhairi/vit_sam (S, B, B with registers). The sizes of
# the others stand beside the same hashes in manifests of several public repositories.
_PINS = {
    "vits14": (88_283_115, "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9"),
    "vitb14": (346_378_731, "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73"),
    "vitl14": (1_217_586_395, "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428"),
    "vitg14": (4_546_108_579, "baf8467e50af277596bbbafa06887c177ee899ab46033649c383577d7e9309d3"),
    "vits14_reg4": (88_291_785, "f433177089a681826f849f194ece3bb48f4d63fb38d32fc837e3dc7a4e5641fb"),
    "vitb14_reg4": (346_393_545, "73182a088cf94833c94b1666d1c99e02fe87e2007bff57b564fb6206e25dba71"),
    "vitl14_reg4": (1_217_607_321, "36e4deffbaef061a2576705b0c36f93621e2ae20bf6274694821b0b492551b51"),
    "vitg14_reg4": (4_546_140_349, "746ecb8c6301c645c5c855be91687d274587d6e48fdaec4a729753160b34a283"),
}


def meta_file(size: str, registers: bool) -> RemoteFile:
    """Return Meta's file of a DINOv2, where `size` is "small", "base", "large" or "giant"."""
    model = f"vit{size[0]}14"
    variant = f"{model}_reg4" if registers else model
    length, sha256 = _PINS[variant]
    url = f"https://dl.fbaipublicfiles.com/dinov2/dinov2_{model}/dinov2_{variant}_pretrain.pth"
    return RemoteFile(url=url, sha256=sha256, size=length)
