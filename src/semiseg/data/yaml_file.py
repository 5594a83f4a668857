"""Read YAML settings: safe, bounded, and without guessing what a plain word means."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from semiseg.errors import SemisegError

_MAX_BYTES = 200_000
"""The largest of ours has 5 kB; PyYAML takes a second for 100 kB."""

_MAX_DEPTH = 20


class _BoundedSafeLoader(yaml.SafeLoader):
    """Reads plain nested values, and refuses what a settings file has no need of."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse depth, tags, and aliases: ten lines of them can stand for gigabytes."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not supported")
        tag = getattr(self.current_event, "tag", None)
        if tag is not None:
            raise yaml.YAMLError(f"tags ({tag}) are not supported")
        if self.depth == _MAX_DEPTH:
            raise yaml.YAMLError(f"nested more than {_MAX_DEPTH} deep")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse a key that is no plain word, and one that comes twice: the first would be lost in silence."""
        seen = set()
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.YAMLError(f"the key in line {line} is no word")
            if key.value in seen:
                raise yaml.YAMLError(f"key {key.value!r} comes twice in one mapping, again in line {line}")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _TextSafeLoader(_BoundedSafeLoader):
    """Leaves every plain value but null as the text it is written as.

    YAML 1.1 reads `1_8` as the number 18, `1e-3` as text, `1:30` as 90 and a class called `no` as False. Whoever knows
    what a key means turns its text into a number instead, as for an option on the command line.
    """


_TextSafeLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag == "tag:yaml.org,2002:null"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(path: Path, error: type[SemisegError], *, typed: bool = False) -> dict[str, Any]:
    """Read a small YAML mapping: nested mappings and lists of text or None.

    Args:
        path: the file.
        error: what to raise.
        typed: whether plain words are numbers, truths and dates where YAML 1.1 says so, as in a file that YAML wrote.

    Raises:
        error: the file is missing, too large, not YAML or not a mapping, or it holds tags, aliases, a key twice or more
            depth than settings have.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ValueError(f"more than {_MAX_BYTES // 1000} kB, too large for a settings file")
        settings = yaml.load(content.decode("utf-8"), Loader=_BoundedSafeLoader if typed else _TextSafeLoader)
    except (OSError, ValueError, yaml.YAMLError) as cause:
        reason = " ".join(str(cause).split())
        raise error(f"unreadable YAML ({reason})", where=path, remedy="correct the file") from cause
    if not isinstance(settings, dict):
        raise error("not a YAML mapping", where=path, expected="lines of `key: value`", remedy="correct the file")
    return settings


def parse_list(text: str) -> list[Any] | None:
    """Read a list in one line, `[a, b c]`, as `read_yaml` reads it in a file; None if the text is no list."""
    if not text.startswith("["):
        return None
    try:
        content = yaml.load(text, Loader=_TextSafeLoader)
    except (ValueError, yaml.YAMLError):
        return None
    return content if isinstance(content, list) else None
