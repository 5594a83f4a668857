"""From a template of this folder and plain values to HTML; whatever a value holds, it is shown and never obeyed."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from semiseg.printable import printable
from semiseg.reporting.wording import points


def render(template: str, **values: Any) -> str:
    """Return a template filled with values.

    Every value is escaped for HTML, and text is made printable first, so that no control character, line break or half
    of a character gets onto the page. A name that the template asks for and is not given is an error.

    Args:
        template: name of a file in `templates/`.
        values: what the template calls them; texts, numbers, and objects that hold such.
    """
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("semiseg.reporting"),
        auto_reload=False,  # a training outlives updates of the package
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"points": points, "bar_width": _bar_width}
    return environment


def _shown(value: Any) -> Any:
    """Make text printable; what a macro returns is HTML by then."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _bar_width(share: float | None) -> str:
    return f"{100 * min(max(share or 0.0, 0.0), 1.0):.1f}%"
