"""The student of each method that needs more than an encoder and a decoder, for all tests of all methods."""

from __future__ import annotations

from semiseg.models import ModelConfig

STUDENTS = {
    "allspark": ModelConfig(encoder="vit_nano", weights="random", neck="allspark"),
    "semivl": ModelConfig(encoder="clip_nano", decoder="semivl", weights="random"),
}

COUPLED = {"allspark"}
"""Methods whose images see the others of their chunk, as published: their losses depend on how the batch is divided."""


def student_words(method: str) -> tuple[str, ...]:
    """Return what the command line of `tiny_words` needs for a method: the method, and its student."""
    words = ["--method", method]
    if student := STUDENTS.get(method):
        words += ["--model.encoder", student.encoder, "--model.decoder", student.decoder]
        words += ["--model.neck", student.neck] if student.neck else []
    return tuple(words)
