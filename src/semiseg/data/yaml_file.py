"""Read YAML settings: safe, bounded, and without guessing what a plain word means."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from semiseg.errors import SemisegError

_MAX_CHARACTERS = 1_000_000


class _TextSafeLoader(yaml.SafeLoader):
    """Leaves every plain value but null as the text it is written as.

    YAML 1.1 reads `1_8` as the number 18, `1e-3` as text, `1:30` as 90 and a class called `no` as False. Whoever knows
    what a key means turns its text into a number instead, as for an option on the command line.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse aliases: ten lines of them can stand for gigabytes."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not supported")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse a key that comes twice, of which the first would be lost in silence."""
        names = [key.value for key, _ in node.value]
        twice = sorted({str(name) for name in names if names.count(name) > 1})
        if twice:
            raise yaml.YAMLError(f"key {twice[0]!r} comes twice in the mapping from line {node.start_mark.line + 1} on")
        return super().construct_mapping(node, deep)


_TextSafeLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag == "tag:yaml.org,2002:null"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(path: Path, error: type[SemisegError]) -> dict[str, Any]:
    """Read a small YAML mapping: nested mappings and lists of text or None.

    Args:
        path: the file.
        error: what to raise.

    Raises:
        error: the file is missing, too large, not YAML or not a mapping, or it holds tags, aliases or a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if len(text) > _MAX_CHARACTERS:
            raise ValueError("too large for a settings file")
        content = yaml.load(text, Loader=_TextSafeLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as cause:
        reason = " ".join(str(cause).split())
        raise error(f"unreadable YAML ({reason})", where=path, remedy="correct the file") from cause
    if not isinstance(content, dict):
        raise error("not a YAML mapping", where=path, expected="lines of `key: value`", remedy="correct the file")
    return content
