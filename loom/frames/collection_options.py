"""What a collection is created with, compared with what a server says it has.

A server reports more than it was given: sizes that are rounded up, the defaults of a collation,
the buckets of a granularity.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import bson
from bson.codec_options import CodecOptions

from ..encoding import encode
from ..errors import QueryError
from .index_specs import Difference, plain_collation, same_collation
from .timeseries import GRANULARITIES

__all__ = ["changes_of", "compared", "wanted_options"]

Options = Mapping[str, Any]

#: Keywords of PyMongo's method that are no options of the collection.
_OF_METHOD = frozenset(("check_exists", "codec_options", "read_concern", "read_preference"))
#: What a time series cannot be created with.
_NOT_OF_SERIES = frozenset(
    ("autoIndexId", "capped", "changeStreamPreAndPostImages", "clusteredIndex", "encryptedFields")
    + ("max", "pipeline", "size", "validationAction", "validationLevel", "validator", "viewOn")
)
#: What makes a collection another one when it is there and was not asked for.
_COUNTS = frozenset(
    ("capped", "changeStreamPreAndPostImages", "clusteredIndex", "collation", "encryptedFields")
    + ("expireAfterSeconds", "max", "pipeline", "size", "timeseries", "validationAction")
    + ("validationLevel", "validator", "viewOn")
)
#: What is as good as not given.
_DEFAULTS: dict[str, Any] = {
    "autoIndexId": True,
    "capped": False,
    "changeStreamPreAndPostImages": {"enabled": False},
    "indexOptionDefaults": {},
    "pipeline": [],
    "validationAction": "error",
    "validationLevel": "strict",
    "validator": {},
}
#: Documents to which a server adds something of its own.
_ADDED_TO = frozenset(("clusteredIndex", "encryptedFields", "indexOptionDefaults", "storageEngine"))
_BUCKETS = ("bucketMaxSpanSeconds", "bucketRoundingSeconds")
#: Servers round the size of a capped collection up to a multiple of this.
_ROUNDED = 256
#: What collMod sets under its own name, and what it has another name for.
_SET = frozenset(
    ("changeStreamPreAndPostImages", "validationAction", "validationLevel", "validator")
)
_SET_AS = {"max": "cappedMax", "size": "cappedSize"}


def wanted_options(cls: Any, options: Options) -> dict[str, Any]:
    """Return what the collection of a class is to be created with.

    Args:
        cls: the class.
        options: of the call, as for PyMongo's `create_collection`.

    Raises:
        QueryError: they do not go with the class.
    """
    place = f"{cls.__name__}.create_collection"
    for name in _OF_METHOD & options.keys():
        raise QueryError(
            f"{place}: expected options of the collection, got {name!r}; set it on the client, or "
            f"use {cls.__name__}.with_options()"
        )
    series = cls._timeseries
    for name in ("timeseries", *(() if series is None else ("expireAfterSeconds",))):
        if name in options:
            raise QueryError(
                f"{place}: expected {name} in _timeseries of the class, which then knows what such "
                f"a collection takes, got it as an option; write _timeseries = {{...}}"
            )
    if series is None:
        return dict(options)
    for name in sorted(_NOT_OF_SERIES & options.keys()):
        raise QueryError(
            f"{place}: expected options that a time-series collection takes, got {name!r}; leave "
            "it out"
        )
    own = {name: value for name, value in series.items() if name != "expireAfterSeconds"}
    found = {**options, "timeseries": own}
    if "expireAfterSeconds" in series:
        found["expireAfterSeconds"] = series["expireAfterSeconds"]
    return found


def compared(wanted: Options, stored: Options, codecs: CodecOptions[Any]) -> tuple[Difference, ...]:
    """Return the options that are stored otherwise than wanted.

    Args:
        wanted: what `create` takes.
        stored: the `options` that listCollections reports.
        codecs: what encodes values.
    """
    ours, theirs = _normal(wanted, codecs), _normal(stored, codecs)
    found = []
    for option in sorted(ours.keys() | theirs.keys()):
        mine, other = ours.get(option), theirs.get(option)
        if option == "collation":
            is_same = same_collation(mine, other, wanted.get("collation") or {})
        elif option in _ADDED_TO and isinstance(mine, dict) and isinstance(other, dict):
            is_same = all(other.get(name) == value for name, value in mine.items())
        else:
            is_same = mine == other
        if not is_same and (option in ours or option.partition(".")[0] in _COUNTS):
            found.append(Difference(option, other, mine))
    return tuple(found)


def _normal(options: Options, codecs: CodecOptions[Any]) -> dict[str, Any]:
    """Return options as a server has them, without those that are as usual."""
    plain = {k: getattr(v, "document", v) for k, v in options.items() if v is not None}
    found: dict[str, Any] = bson.decode(encode(plain, codecs))
    found = {k: v for k, v in found.items() if k not in _DEFAULTS or v != _DEFAULTS[k]}
    if "capped" not in found:
        found.pop("size", None)
        found.pop("max", None)
    elif "size" in found:
        found["size"] = -(-int(found["size"]) // _ROUNDED) * _ROUNDED
    collation = plain_collation(found.pop("collation", None))
    if collation is not None:
        found["collation"] = collation
    series = found.pop("timeseries", None)
    if series is not None:
        if "granularity" in series or not any(name in series for name in _BUCKETS):
            series.setdefault("granularity", "seconds")
            series = {k: v for k, v in series.items() if k not in _BUCKETS}
        found |= {f"timeseries.{name}": value for name, value in series.items()}
    return found


# Changing


def changes_of(differences: Iterable[Difference]) -> tuple[dict[str, Any], list[Difference]]:
    """Return what collMod is to set, and the differences that stay whatever it does."""
    differences = [*differences]
    by_option = {each.option: each for each in differences}
    changes: dict[str, Any] = {}
    staying = []
    is_series = any(name.startswith("timeseries.") for name in by_option)
    coarser = _coarser(by_option)
    for each in differences:
        option, wanted = each.option, each.declared
        if option in _SET:
            changes[option] = _DEFAULTS[option] if wanted is None else wanted
        elif option in _SET_AS and None not in (each.stored, wanted):
            changes[_SET_AS[option]] = wanted
        elif option == "expireAfterSeconds" and "timeseries.timeField" not in by_option:
            changes[option] = "off" if wanted is None else wanted
        elif is_series and coarser is not None and option.partition(".")[2] in coarser:
            content = {k: v for k, v in coarser.items() if v is not None}
            changes["timeseries"] = content
        else:
            staying.append(each)
    return changes, staying


def _coarser(by_option: Mapping[str, Difference]) -> dict[str, Any] | None:
    """Return the buckets that are wanted, when they cover more time than those that are stored."""
    names = ("granularity", *_BUCKETS)
    found = {n: by_option[f"timeseries.{n}"] for n in names if f"timeseries.{n}" in by_option}
    if not found or "timeseries.timeField" in by_option:
        return None
    wanted = {name: each.declared for name, each in found.items()}
    stored = {name: each.stored for name, each in found.items()}
    return wanted if _span(wanted) > _span(stored) else None


def _span(buckets: Mapping[str, Any]) -> int:
    """Return how long a bucket is at most, in seconds."""
    if buckets.get("granularity") is not None:
        return GRANULARITIES.get(buckets["granularity"], 0)
    return int(buckets.get("bucketMaxSpanSeconds") or 0)
