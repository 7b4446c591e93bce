"""Whether columns are equal, in which nothing is the same as nothing."""

from __future__ import annotations

from typing import Any

from .moment_columns import Array, np

__all__ = ["is_null", "same"]


def same(one: Array, two: Array) -> bool:
    """Tell whether two arrays have the same values; NaN is the same as NaN, null as null."""
    if one.dtype.kind == "O" or two.dtype.kind == "O":
        return _equal(_plain(one), _plain(two))
    masks = [np.ma.getmaskarray(array) for array in (one, two)]
    if (masks[0] != masks[1]).any():
        return False
    same = np.ma.getdata(one) == np.ma.getdata(two)
    if one.dtype.kind == "f" and two.dtype.kind == "f":
        same |= np.isnan(np.ma.getdata(one)) & np.isnan(np.ma.getdata(two))
    return bool((same | masks[0]).all())


def _equal(one: Any, two: Any) -> bool:
    """Tell whether two values are the same, those inside of lists and documents, too."""
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(_equal, one, two))
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(_equal(one[name], two[name]) for name in one)
    return bool(one == two or (one != one and two != two))


def is_null(array: Array) -> bool:
    """Tell whether an array has no value."""
    return all(value is None for value in _plain(array))


def _plain(array: Array) -> list[Any]:
    values: list[Any] = array.tolist()  # of masked ones, with None
    return values
