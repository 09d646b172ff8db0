"""What a registered view is made from, and what is made from it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import escape, glob
from typing import Any

from falaj.features.errors import DefinitionError
from falaj.features.identity import Plain, view_of
from falaj.features.model_inputs import ModelInputs
from falaj.features.raw_rows import named
from falaj.features.registry import Registered
from falaj.features.source import PushedRows, SqlQuery
from falaj.features.view import View


@dataclass(frozen=True)
class Used:
    """A model that takes columns of a view.

    Attributes:
        columns: Of the view, as the model calls them.
        transforms: That the model computes first, of any columns.
    """

    model: str
    version: int
    columns: tuple[str, ...]
    transforms: tuple[str, ...]


@dataclass(frozen=True)
class Lineage:
    """Of a version of a view.

    Attributes:
        entity: Its name and its keys.
        source: As the definition tells it; no password is ever in one.
        files: Which files match now; none of a query.
        reads: The columns that are read, of its source or of its query. Of a view with `sql` those that it
            names, and `*` where it takes all.
        also_reads: What else its `sql` names: other files and tables.
        columns: Its features.
        versions: Which there are of it.
        same_entity: The latest versions of the other views of its entity.
        models: Which take its columns; None where nobody asked.
    """

    view: str
    entity: Plain
    source: Plain
    files: tuple[str, ...]
    reads: tuple[str, ...]
    also_reads: tuple[str, ...]
    columns: tuple[str, ...]
    versions: tuple[int, ...]
    same_entity: tuple[str, ...]
    models: tuple[Used, ...] | None

    def lines(self) -> list[str]:
        """Return it as text."""
        keys = ", ".join(f"{key} {of}" for key, of in self.entity["keys"])
        lines = [f"{self.view}: of {self.entity['name']} ({keys})"]
        source = self.source
        if source["kind"] == "sql":
            lines += [f"  source: {source['url']}", *(f"    {line}" for line in source["query"].splitlines())]
        else:
            where = source.get("glob") or source["folder"]
            lines += [f"  source: {source['kind']} {where}", *(f"    {file}" for file in self.files)]
            lines += [] if self.files else ["    no such file now"]
        lines.append(f"  reads: {', '.join(self.reads)}")
        lines += [f"  also reads: {', '.join(self.also_reads)}"] if self.also_reads else []
        lines.append(f"  makes: {', '.join(self.columns)}")
        lines.append(f"  versions: {', '.join(map(str, self.versions))}")
        lines.append(f"  same entity: {', '.join(self.same_entity) or 'no other view'}")
        for used in self.models or ():
            by = f", by {', '.join(used.transforms)}" if used.transforms else ""
            lines.append(f"  model: {used.model}/{used.version} takes {', '.join(used.columns)}{by}")
        return lines if self.models != () else [*lines, "  model: none takes its columns"]


def lineage_of(
    found: Registered, versions: Sequence[Registered], models: Sequence[ModelInputs] | None = None
) -> Lineage:
    """Return where a view comes from and where it goes.

    Args:
        versions: All that are registered.
        models: Those of a repository, see model_inputs.py. What a bundle binds is of one version of a view;
            the names of a model's inputs tell none, and count for every one that has such columns.

    Raises:
        DefinitionError: Its `sql` cannot be read.
    """
    view = view_of(found.meaning)
    latest = {each.name: each for each in versions}
    reads, also = _read(view)
    return Lineage(
        view=f"{view.name}@{view.version}",
        entity=found.meaning["entity"],
        source=found.meaning["source"],
        files=_files(view),
        reads=tuple(reads),
        also_reads=tuple(also),
        columns=tuple(column.name for column in view.features),
        versions=tuple(each.version for each in versions if each.name == view.name),
        same_entity=tuple(
            f"{each.name}@{each.version}"
            for each in latest.values()
            if each.name != view.name and each.meaning["entity"]["name"] == view.entity.name
        ),
        models=None if models is None else tuple(_used(view, models)),
    )


def _files(view: View) -> tuple[str, ...]:
    source = view.source
    if isinstance(source, SqlQuery):
        return ()
    pattern = f"{escape(source.folder)}/*.*" if isinstance(source, PushedRows) else source.glob
    return tuple(sorted(glob(pattern, recursive=True)))


def _used(view: View, models: Sequence[ModelInputs]) -> Iterator[Used]:
    ours = {f"{view.name}__{column.name}" for column in view.features}
    for each in models:
        views = [bound.view for bound in each.binding.views] if each.binding is not None else []
        if any((bound.name, bound.version) == (view.name, view.version) for bound in views):
            assert each.binding is not None
            taken = tuple(str(feature) for feature in each.binding.features if feature.view == view.name)
        elif any(bound.name == view.name for bound in views):
            continue  # it is of another version
        else:
            taken = tuple(name for name in each.inputs if name in ours)
        if taken:
            yield Used(each.model, each.version, taken, each.transforms)


def _read(view: View) -> tuple[list[str], list[str]]:
    if view.sql is not None:
        return _named(view, view.sql)
    return named(view), []


def _named(view: View, sql: str) -> tuple[list[str], list[str]]:
    """Columns, and tables other than `source`, that a SELECT of DuckDB names."""
    import duckdb

    with duckdb.connect() as connection:
        row = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchone()
    assert row is not None
    told = json.loads(row[0])
    if told["error"]:
        raise DefinitionError(f"{view}: sql: {told['error_message']}")
    columns: dict[str, None] = {}
    tables: dict[str, None] = {}
    own = {"source"}
    for node in _nodes(told):
        own.update(entry["key"] for entry in node.get("cte_map", {}).get("map", ()))
        columns.update(dict.fromkeys(node.get("using_columns", ())))
        if node.get("class") == "COLUMN_REF":
            columns[node["column_names"][-1]] = None
        elif node.get("class") == "STAR":
            columns["*"] = None
        elif node.get("type") == "BASE_TABLE":
            tables[node["table_name"]] = None
        elif node.get("type") == "TABLE_FUNCTION":
            tables.update(dict.fromkeys(_texts(node["function"])))
    return list(columns), [name for name in tables if name not in own]


def _texts(function: Any) -> Iterator[str]:
    """Texts in the first argument of a table function: paths of files."""
    for node in _nodes(function["arguments"][:1]):
        literal = node.get("literal", {})
        if literal.get("kind") == "STRING":
            yield literal["text"]


def _nodes(told: Any) -> Iterator[dict[str, Any]]:
    """All of a statement but what table functions are given, where options look like columns."""
    if isinstance(told, dict):
        yield told
        inner = [] if told.get("type") == "TABLE_FUNCTION" else list(told.values())
    else:
        inner = told if isinstance(told, list) else []
    for each in inner:
        yield from _nodes(each)
