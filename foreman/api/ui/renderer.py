"""Templates to HTML: every value in them is escaped, and a name that is not given is an error."""

from __future__ import annotations

from importlib import resources
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from foreman.api.assets import shipped
from foreman.api.ui import wording
from foreman.domain.moment import rfc3339

_TEMPLATES = str(resources.files("foreman") / "web" / "templates")


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "counted": wording.counted,
        "cut": wording.cut,
        "duration": wording.duration,
        "moment": wording.moment,
        "number": wording.number,
        "pretty": wording.pretty,
        "rfc3339": rfc3339,
        "size": wording.size,
    }
    made.globals["asset"] = shipped().url
    return made


_ENVIRONMENT = _environment()


def html(template: str, **values: Any) -> Markup:  # noqa: ANN401  (what the template names)
    """The template with these values."""
    return Markup(_ENVIRONMENT.get_template(template).render(values))  # noqa: S704  (its values are escaped)


def encoded(text: str) -> bytes:
    """UTF-8. Half a surrogate pair, which has none, becomes a question mark."""
    return text.encode(errors="replace")
