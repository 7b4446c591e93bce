"""What a call reads: a find, or an aggregate, and the columns of its results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ...errors import FieldError, QueryError, SchemaError, nearest
from ..chains import Chain
from ..commands import find_of
from ..fetching import is_fetched
from ..operations.aggregating import aggregate_for, find_options
from ..operations.reading import Options, compiled_filter, query_options
from ..port import Port
from ..projections import plan_for
from .asking import Asked
from .checks import check_one_form
from .columns import Schema
from .references.layouts import Layout
from .references.plans import columns_of, names_path
from .schema import schema_of

__all__ = ["Command", "chain_of", "check_form", "command_of", "driver_of"]


#: Steps behind which groups are the same.
_KEEPING = ("$match", "$sort", "$skip", "$limit", "$sample")


class Command(NamedTuple):
    """What is sent for a call."""

    columns: Schema
    #: of a find
    filter: dict[str, Any]
    #: of an aggregate, None for a find
    stages: list[dict[str, Any]] | None
    #: under the names that PyMongo's `find` or `aggregate` takes
    options: Options


def chain_of(asked: Asked) -> Chain:
    """Return what a call asks for as a chain: its own, or its filter, or its pipeline.

    Raises:
        QueryError: a stage that writes, or is none; or something beside what says it already.
    """
    if isinstance(asked.source, Chain):
        for name, step in (("filter", "filter"), ("pipeline", "agg")):
            if getattr(asked, name) is not None:
                raise QueryError(
                    f"{asked.place}: expected {name} as a step of the directive, got it beside "
                    f"one; write .{step}(...)"
                )
        return asked.source
    chain = Chain(asked.cls).filter(asked.filter)
    return chain if asked.pipeline is None else Chain(asked.cls, chain._staged(asked.pipeline))


def command_of(port: Port, asked: Asked) -> Command:
    """Return what is sent for a call.

    Raises:
        QueryError: what is asked for cannot be sent.
        SchemaError: a column has no type.
    """
    if isinstance(asked.source, Chain):
        return _of_chain(port, asked, chain_of(asked))
    if asked.pipeline is None:
        columns = _columns(asked, asked.projection)
        return _find(port, asked, columns, asked.filter, dict(asked.options))
    if asked.schema is None or asked.filter is not None:
        raise QueryError(
            f"{asked.place}: expected a schema and no filter beside a pipeline, got "
            f"{'no schema' if asked.schema is None else f'the filter {asked.filter!r}'}; what "
            "comes out of a pipeline has no annotations, and a filter is its $match"
        )
    return _aggregate(port, asked, columns_of(asked.cls, asked.projection, asked.schema))


def _of_chain(port: Port, asked: Asked, chain: Chain) -> Command:
    if not chain.is_whole():
        if asked.schema is None:
            raise QueryError(
                f"{asked.place}: expected a schema for what is no document of the class, got none; "
                f"write schema={{{_example(chain)}}}"
            )
        columns = columns_of(asked.cls, asked.projection, asked.schema)
        _check_groups(chain, columns)
        return _aggregate(port, asked, columns)
    own = next((step.content for step in chain._steps if step.name == "project"), None)
    if own is not None and asked.projection is not None:
        raise QueryError(
            f"{asked.place}: expected one projection, got one beside the directive's own; leave "
            "out .project(...) to name columns"
        )
    columns = _columns(asked, asked.projection if own is None else own)
    found = find_of(chain)
    if found is not None:
        options = {**find_options(chain, dict(asked.options)), **found.options}
        return _find(port, asked, columns, found.filter, options)
    check_form(asked)
    if own is None and asked.schema is None and asked.projection is None and chain.added():
        raise SchemaError(
            f"{asked.cls.__name__}: expected the type of {chain.added()[0]!r}, which a step adds, "
            "got no schema; name the columns with schema={...} or project(...)"
        )
    return _aggregate(port, asked, _as_projected(asked, columns, own))


def _groups_of(chain: Chain) -> list[str]:
    """Return the fields of the groups that a directive ends with, none if it ends with others."""
    last = [step for step in chain._steps if step.name not in _KEEPING][-1]
    if last.name != "group":
        return []
    return [*dict.fromkeys(name.partition(".")[0] for name in last.content.names())]


def _example(chain: Chain) -> str:
    """Return what a schema may look like."""
    return ", ".join(f"{name!r}: ..." for name in _groups_of(chain)) or "'total': int"


def _check_groups(chain: Chain, columns: Schema) -> None:
    """Refuse columns that groups do not have, which would be null throughout."""
    known = _groups_of(chain)
    for column in columns:
        root = column.path.partition(".")[0]
        if known and root not in known:
            raise FieldError(
                f"{columns.place}.{column.name}: expected a field of the groups, which have "
                f"{', '.join(known)}, got {column.path!r}{nearest(root, known)}"
            )


def _as_projected(asked: Asked, columns: Schema, projection: Any) -> Schema:
    """Return the columns of documents in which a step has put values under other names."""
    named = projection.items() if isinstance(projection, Mapping) else ()
    moved = {name for name, value in named if isinstance(value, str)}
    if isinstance(columns, Layout) and (moved or names_path(projection)):
        raise QueryError(
            f"{asked.place}: expected no other names beside $ref in a directive that is sent as an "
            f"aggregate, got {', '.join(sorted(moved)) or '$path'}; leave out .project(...) and "
            "pass projection= to the reader"
        )
    if not moved:
        return columns
    made = [c._replace(path=c.name) if c.name in moved else c for c in columns]
    return Schema(columns.place, made)


def _find(port: Port, asked: Asked, columns: Schema, filter: Any, options: Options) -> Command:
    check_form(asked)
    query = compiled_filter(port, asked.cls, filter)
    sent = {"batch_size": asked.batch_rows, **query_options(asked.cls, query, options)}
    return Command(columns, query, None, sent)


def _aggregate(port: Port, asked: Asked, columns: Schema) -> Command:
    wanted = {"$project": driver_of(columns)}
    command = aggregate_for(port, chain_of(asked), dict(asked.options), wanted)
    return Command(columns, {}, command.stages, {"batchSize": asked.batch_rows, **command.options})


def _columns(asked: Asked, projection: Any) -> Schema:
    """Return the columns of whole documents; by default, of what `many` fetches by default."""
    cls = asked.cls
    if projection is None and asked.schema is None and cls._default_projection is not None:
        driver = {"_id": True, **(plan_for(cls, None).driver or {})}  # as the server has it
        names = ("_id", *cls._definition.ordered)
        return schema_of(cls, {name: None for name in names if not is_fetched(driver, name)})
    return columns_of(cls, projection, asked.schema)


def check_form(asked: Asked) -> None:
    """Refuse documents of a class whose older ones have another form.

    Raises:
        QueryError: it upgrades them.
    """
    way_out = "load rows(), or load what is stored with pipeline=[] and a schema"
    check_one_form(asked.place, asked.cls, f"upgrade what is stored, {way_out}")


def driver_of(columns: Schema) -> dict[str, bool]:
    """Return the projection that fetches some columns, and the `_id`, which errors name.

    >>> import pyarrow as pa
    >>> from loom.frames.arrow import Column
    >>> gold, name = Column("gold", pa.int64(), "lair.gold"), Column("name", pa.string(), "name")
    >>> driver_of(Schema("Dragon", [gold, name]))
    {'_id': True, 'lair.gold': True, 'name': True}
    """
    paths = columns.fetched()
    wanted = {"_id": True}
    for path in paths:
        parts = path.split(".")
        # The server refuses a path beside one that it begins with.
        if (
            not any(".".join(parts[:i]) in paths for i in range(1, len(parts)))
            and parts[0] != "_id"
        ):
            wanted[path] = True
    return wanted
