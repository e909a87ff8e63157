"""One parameter of a path, a query or a header: what it may be, as it is held to and as it is described."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import falcon

from foreman.api.problems import BAD_HEADER, BAD_PARAMETER, HTTPProblem
from foreman.domain.json_value import Findings
from foreman.domain.shape import Shape, from_text


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter. A query's ``name`` may end in ``<key>``, which stands for whatever the client has there."""

    name: str
    where: Literal["path", "query", "header"]
    shape: Shape
    about: str
    example: object = None

    @property
    def prefix(self) -> str | None:
        """What a name begins with that may be any; ``None``: it is just ``name``."""
        begin, mark, _ = self.name.partition("<")
        return begin if mark else None

    def read(self, text: str, name: str | None = None) -> Any:  # noqa: ANN401  what the shape makes of a text
        """What ``text`` is to the shape: a number, or itself. ``name`` is what the client called it.

        Raises:
            HTTPProblem: 400 and what would be right.
        """
        value, found = from_text(self.shape, text), Findings()
        self.shape.check(value, "", found)
        for problem in found.problems():
            kind = BAD_HEADER if self.where == "header" else BAD_PARAMETER
            raise HTTPProblem(kind, f"{_shown(name or self.name)} {problem.detail}.")
        return value


def parameters_of(req: falcon.Request, known: Collection[Parameter]) -> dict[str, Any]:
    """What is behind the question mark, by name: ``known`` parameters only, each given once and as it may be.

    Raises:
        HTTPProblem: 400 naming one that is not so.
    """
    return read_all(req.params, known)


def read_all(params: Mapping[str, str | list[str]], known: Collection[Parameter]) -> dict[str, Any]:
    """As ``parameters_of``, of parameters that were taken apart before.

    Raises:
        HTTPProblem: 400 naming one that is not so.
    """
    by_name = {each.name: each for each in known if each.prefix is None}
    by_prefix = {each.prefix: each for each in known if each.prefix is not None}
    given: dict[str, Any] = {}
    for name, text in params.items():
        prefix = next((each for each in by_prefix if name.startswith(each)), None)
        parameter = by_name.get(name) or (by_prefix[prefix] if prefix else None)
        if parameter is None:
            raise HTTPProblem(BAD_PARAMETER, f"There is no parameter {_shown(name)}.")
        if not isinstance(text, str):
            raise HTTPProblem(BAD_PARAMETER, f"{_shown(name)} may be given only once.")
        if "\0" in name:
            # PostgreSQL takes no NUL, and no job has one.
            raise HTTPProblem(BAD_PARAMETER, f"{_shown(name)} must not contain NUL.")
        given[name] = parameter.read(text, name)
    return given


def _shown(name: str) -> str:
    """A parameter's name in a detail: printable, and not longer than a line."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name[:80])
