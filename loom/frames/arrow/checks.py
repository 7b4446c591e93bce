"""What is checked of the arguments of calls that read and write columns, each with its message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import QueryError
from ..projections import plan_for

__all__ = ["check_choice", "check_count", "check_flag", "check_one_form"]


def check_count(place: str, name: str, value: Any, *, or_none: bool = False) -> None:
    """Refuse what is no number of things.

    Args:
        place: for errors.
        name: of the option.
        value: what was given for it.
        or_none: whether None stands for all, or for no limit.

    Raises:
        QueryError: it is none.

    >>> check_count("Dragon", "batch_rows", 0)
    Traceback (most recent call last):
    loom.errors.QueryError: Dragon: expected batch_rows of at least 1, got 0
    """
    if value is None and or_none:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        also = ", or None" if or_none else ""
        raise QueryError(f"{place}: expected {name} of at least 1{also}, got {value!r}")


def check_flag(place: str, name: str, value: Any) -> None:
    """Refuse what is neither True nor False.

    Raises:
        QueryError: it is something else.

    >>> check_flag("Dragon", "ordered", 1)
    Traceback (most recent call last):
    loom.errors.QueryError: Dragon: expected ordered=True or False, got 1
    """
    if not isinstance(value, bool):
        raise QueryError(f"{place}: expected {name}=True or False, got {value!r}")


def check_choice(place: str, name: str, value: Any, known: Sequence[str]) -> None:
    """Refuse what is none of the values of an option.

    Raises:
        QueryError: it is another one.

    >>> check_choice("Dragon", "nulls", "drop", ("keep", "omit"))
    Traceback (most recent call last):
    loom.errors.QueryError: Dragon: expected nulls of 'keep' or 'omit', got 'drop'
    """
    if value not in known:
        *others, last = map(repr, known)
        raise QueryError(
            f"{place}: expected {name} of {', '.join(others)} or {last}, got {value!r}"
        )


def check_one_form(place: str, cls: Any, way_out: str) -> None:
    """Refuse a class whose older documents have another form, in which columns would mix both.

    Raises:
        QueryError: it upgrades them.
    """
    if plan_for(cls, {"_id": True}).upgrades:
        raise QueryError(
            f"{place}: expected documents of one form, got a class that upgrades older ones, "
            f"{cls.__name__}, which columns do not; {way_out}"
        )
