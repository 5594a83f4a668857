"""What a check of many files found, of one process or put together from several."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Protocol

from semiseg.data.fingerprints import Fingerprint
from semiseg.data.likeness import Print, alike
from semiseg.data.lists import Sample
from semiseg.data.looking import Look
from semiseg.data.palette import Colour
from semiseg.data.reduction import advised_long_side
from semiseg.data.spec import DatasetSpec
from semiseg.errors import DataError, some

_SHOWN = 10


class Peers(Protocol):
    """The processes that share a check."""

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""

    @property
    def count(self) -> int:
        """How many there are."""

    def gather_texts(self, text: str) -> list[str]:
        """Return the texts of all processes, in their order."""


@dataclass(frozen=True)
class Alone:
    """A process without peers."""

    rank: int = 0
    count: int = 1

    def gather_texts(self, text: str) -> list[str]:
        """Return the text, as there is no other."""
        return [text]


@dataclass(kw_only=True)
class Findings:
    """What was found.

    Attributes:
        faults: what is wrong, each with the number of its sample, which orders them.
        files: each good file's path and what tells its content from another.
        images: by part (`labeled`, `val`) and class id, the number of masks that show it.
        pixels: by part and class id, the number of pixels.
        colours: by value of masks with a palette, its colour and the first such mask that shows it.
        prints: by part and sample, what its images look like, where they were decoded.
        damaged: samples that were known to be damaged and still are, and why.
        sides: the longer side of the images, and how many samples have it.
        clash: what is wrong with two masks that give a value different colours, or None.
    """

    faults: list[tuple[int, str]] = field(default_factory=list)
    files: dict[str, Fingerprint] = field(default_factory=dict)
    images: dict[str, dict[int, int]] = field(default_factory=dict)
    pixels: dict[str, dict[int, int]] = field(default_factory=dict)
    colours: dict[int, tuple[Colour, str]] = field(default_factory=dict)
    prints: dict[str, dict[str, Print]] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    sides: dict[int, int] = field(default_factory=dict)
    clash: str | None = None

    def add(self, part: str, sample: Sample, look: Look) -> None:
        """Take in a good sample of a part."""
        if look.print_:
            self.prints.setdefault(part, {})[sample.id] = look.print_
        for value, colour in look.colours.items():
            self._hold(value, colour, str(look.mask))
        self.files |= look.files
        self.sides[max(look.size)] = self.sides.get(max(look.size), 0) + 1
        images, pixels = self.images.setdefault(part, {}), self.pixels.setdefault(part, {})
        for value, count in look.pixels.items():
            images[value] = images.get(value, 0) + 1
            pixels[value] = pixels.get(value, 0) + count

    def _hold(self, value: int, colour: Colour, mask: str) -> None:
        """Hold the colour of a value against that of the masks before."""
        before, first = self.colours.setdefault(value, (colour, mask))
        if before != colour and self.clash is None:
            self.clash = _clash(value, (before, first), (colour, mask))

    def shared(self, peers: Peers) -> Findings:
        """Return what all processes found, on each of them."""
        if peers.count == 1:
            return self
        found = Findings()
        for text in peers.gather_texts(json.dumps(vars(self))):
            found._take(json.loads(text))
        found.faults.sort()
        return found

    def _take(self, other: dict[str, Any]) -> None:
        self.faults += [(number, fault) for number, fault in other["faults"]]
        self.damaged |= other["damaged"]
        for part, prints in other["prints"].items():
            self.prints.setdefault(part, {}).update({id_: tuple(words) for id_, words in prints.items()})
        self.files |= {path: Fingerprint(*facts) for path, facts in other["files"].items()}
        self.clash = self.clash or other["clash"]
        for value, (colour, mask) in other["colours"].items():
            self._hold(int(value), tuple(colour), mask)
        for side, count in other["sides"].items():
            self.sides[int(side)] = self.sides.get(int(side), 0) + count
        for mine, name in ((self.images, "images"), (self.pixels, "pixels")):
            for part, counts in other[name].items():
                sums = mine.setdefault(part, {})
                for value, count in counts.items():
                    sums[int(value)] = sums.get(int(value), 0) + count

    def messages(self) -> list[str]:
        """Return every fault as a whole message."""
        return [fault for _, fault in self.faults] + ([self.clash] if self.clash else [])

    def raise_faults(self) -> None:
        """Name all faults at once, up to a cap.

        Raises:
            DataError: there is one.
        """
        faults = self.messages()
        if len(faults) == 1:
            raise DataError.of_text(faults[0])
        if faults:
            more = f"\n... and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
            raise DataError.of_text(f"{len(faults)} files cannot be used\n" + "\n".join(faults[:_SHOWN]) + more)

    def absent(self, part: str, spec: DatasetSpec) -> tuple[str, ...]:
        """Return the classes that no mask of a part shows."""
        shown = self.images.get(part, {})
        return tuple(name for id_, name in enumerate(spec.classes) if id_ not in shown)

    def notes(self, spec: DatasetSpec) -> tuple[str, ...]:
        """Say which classes cannot be learned, and which cannot be evaluated."""
        lacks = (("labeled", "cannot be learned"), ("val", "cannot be evaluated"))
        absent = [(part, lack, self.absent(part, spec)) for part, lack in lacks if part in self.images]
        return tuple(f"no {part} mask shows {some(names)}: {lack}" for part, lack, names in absent if names)

    def large(self, spec: DatasetSpec, crop: int) -> tuple[str, ...]:
        """Say whether images are far larger than a crop, and what to do about it."""
        sides = [side for side, count in self.sides.items() for _ in range(count)]
        advised = advised_long_side(sides, crop)
        if advised is None or spec.long_side is not None or spec.protocol == "sliding":
            return ()
        return (
            f"images are {median(sides):,.0f} pixels long (median) and crops {crop}, which show little of one; "
            f"--data.long_side {advised} reads photographs smaller",
        )

    def alike(self) -> list[tuple[str, str]]:
        """Return training and val samples that look alike, as far as they were decoded."""
        trained = {**self.prints.get("labeled", {}), **self.prints.get("unlabeled", {})}
        return list(alike(trained, self.prints.get("val", {})))

    def similarities(self) -> tuple[str, ...]:
        """Say which samples that look alike are trained and evaluated on."""
        pairs = [f"{train} and {val}" for train, val in self.alike()]
        count = f"{len(pairs):,} pairs of training and val images"
        return (f"{count} look alike and make the figures too good: {some(pairs)}",) if pairs else ()


def _clash(value: int, one: tuple[Colour, str], other: tuple[Colour, str]) -> str:
    return str(
        DataError(
            f"value {value} is of the colour {one[0]} in one mask and {other[0]} in another",
            where=f"{one[1]} and {other[1]}",
            expected="one palette in all masks, as a program that makes one for each file numbers the classes anew",
            remedy="give the colours of the classes as `palette` in dataset.yaml, so that masks are matched by colour; "
            "or save them as gray images (mode L) if the values are right as they are",
        )
    )
