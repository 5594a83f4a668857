"""How `semiseg data check` says what it found."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from semiseg.data.inspection import Inspection


def print_inspection(found: Inspection) -> None:
    """Print the samples, the classes, what is good to know, and every fault."""
    console = Console(highlight=False)
    samples, spec = found.facts()["samples"], found.dataset.spec
    counts = ", ".join(f"{count:,} {part}" for part, count in samples.items())
    heading = Text(f"{spec.name} in {found.dataset.root}: {spec.num_classes} classes, {counts}")
    console.print(heading, soft_wrap=True)
    console.print(_classes(found))
    for note in found.notes:
        console.print(Text(f"note: {note}"), soft_wrap=True)
    for fault in found.faults:
        console.print(Text(f"fault: {fault}"), soft_wrap=True)
    console.print("sound" if not found.faults else f"{len(found.faults):,} faults")


def _classes(found: Inspection) -> Table:
    table = Table("class", box=None, pad_edge=False)
    for heading in ("labeled masks", "of their pixels", "val masks", "of their pixels"):
        table.add_column(heading, justify="right")
    for row in found.classes():
        table.add_row(
            Text(row["name"]),
            f"{row['labeled_images']:,}",
            f"{row['labeled_share']:.2%}",
            f"{row['val_images']:,}",
            f"{row['val_share']:.2%}",
        )
    return table
