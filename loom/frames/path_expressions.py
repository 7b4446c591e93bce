"""Aggregation expressions for what stands at a path, lists on the way included."""

from __future__ import annotations

from typing import Any

from .paths import split

__all__ = ["joined", "listed", "values_at"]


def values_at(path: str) -> dict[str, Any]:
    """Return the expression for the list of all values at a path, those of lists one by one.

    >>> values_at("company")
    {'$cond': [{'$isArray': '$company'}, '$company', ['$company']]}
    """
    root, *names = split(path)
    values = listed(f"${root}")
    for name in names:
        values = joined(values, listed(f"$$this.{name}"))
    return values


def joined(values: Any, lists: Any) -> dict[str, Any]:
    """Return the expression that joins the lists made of each value."""
    added = {"$concatArrays": ["$$value", lists]}
    return {"$reduce": {"input": values, "initialValue": [], "in": added}}


def listed(value: str) -> dict[str, Any]:
    """Return the expression for a value that is a list, or a list of it alone."""
    return {"$cond": [{"$isArray": value}, value, [value]]}
