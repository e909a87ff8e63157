"""Queries whose SQL is written once and then only run: peewee takes longer to write most than SQLite takes to run them.

Measured, one row by its key: 0.20 ms to write, 0.40 ms with peewee's model around the row, 0.02 ms prepared. For what
is done for every job; the rest of the store asks peewee directly.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from peewee import Value

from foreman.store.database import proxy
from foreman.store.models import Row

#: Rows that one INSERT writes: any number up to the first, else a power of two up to the second. So a table has few
#: statements, each of them prepared, and the widest one has two thousand values, far below either engine's limit.
ANY_NUMBER, MOST_ROWS = 8, 64


@dataclass(frozen=True, slots=True)
class _Marker:
    """Stands in the parameters of a statement for what each run is given."""

    name: str


class Given:
    """What a statement is written with: any attribute stands for the value of that name which each run is given."""

    def __getattr__(self, name: str) -> Value:
        return Value(_Marker(name), converter=False)


class Statement:
    """One query, written by ``build`` when it is first run on an engine.

    What is not taken from ``Given`` is fixed then. Values are passed on as they are, without a field's conversion. Rows
    have the columns as attributes. Run it inside ``read`` or ``write``.
    """

    def __init__(self, build: Callable[[Any], Any]) -> None:
        self._build = build
        self._written: dict[type, tuple[str, list[Any]]] = {}
        self._row: Any = None

    def rows(self, **values: Any) -> list[Any]:  # noqa: ANN401  (columns of any type)
        """All rows."""
        cursor = self._run(values)
        found = cursor.fetchall()
        if self._row is None and found:
            self._row = _row_type(tuple(column[0] for column in cursor.description))
        return [self._row._make(each) for each in found]

    def first(self, **values: Any) -> Any:  # noqa: ANN401  (as above)
        """The first row, or None."""
        found = self.rows(**values)
        return found[0] if found else None

    def scalar(self, **values: Any) -> Any:  # noqa: ANN401  (as above)
        """The first column of the first row, or None."""
        found = self._run(values).fetchone()
        return None if found is None else found[0]

    def execute(self, **values: Any) -> int:  # noqa: ANN401  (as above)
        """How many rows were written."""
        return int(self._run(values).rowcount)

    def _run(self, values: dict[str, Any]) -> Any:  # noqa: ANN401  (peewee is untyped)
        database: Any = proxy.obj
        written = self._written.get(type(database))
        if written is None:
            sql, params = self._build(Given()).bind(database).sql()
            # LIMIT leaves the value as it is, wrapped.
            written = sql, [each.value if isinstance(each, Value) else each for each in params]
            self._written[type(database)] = written
        sql, params = written
        return database.execute_sql(sql, [values[each.name] if type(each) is _Marker else each for each in params])


class Insertion:
    """INSERTs of rows of ``model``, several a statement: each statement costs SQLite's caller the interpreter once.

    Values are passed on as they are, without a field's conversion. Run it inside ``write``.
    """

    def __init__(self, model: type[Row]) -> None:
        self._model = model
        self._written: dict[tuple[type, int], str] = {}

    def execute(self, rows: Sequence[Sequence[Any]]) -> None:
        """Write rows; each has a value for every column, in the model's order: see ``rows.row_type``."""
        start = 0
        while left := len(rows) - start:
            count = left if left <= ANY_NUMBER else min(1 << left.bit_length() - 1, MOST_ROWS)
            self._insert(rows[start : start + count])
            start += count

    def _insert(self, rows: Sequence[Sequence[Any]]) -> None:
        database: Any = proxy.obj
        kind = type(database), len(rows)
        if kind not in self._written:
            self._written[kind] = self._write(database, len(rows))
        database.execute_sql(self._written[kind], list(chain.from_iterable(rows)))

    def _write(self, database: Any, count: int) -> str:  # noqa: ANN401  (peewee is untyped)
        columns = fields_of(self._model)
        row = tuple(Value(None, converter=False) for _ in columns)
        sql, _ = self._model.insert_many([row] * count, fields=columns).bind(database).sql()
        return str(sql)


def fields_of(model: type[Row]) -> list[Any]:
    """The model's fields, in the order in which an ``Insertion`` takes their values."""
    meta: Any = model._meta  # noqa: SLF001 -- as peewee documents it
    return list(meta.sorted_fields)


def _row_type(columns: tuple[str, ...]) -> Any:  # noqa: ANN401  (a type that is made here)
    """A tuple with ``columns`` as attributes; the typed form could not be made from names that only a query knows."""
    return namedtuple("Row", columns)  # noqa: PYI024
