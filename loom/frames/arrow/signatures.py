"""Functions with `**how` that show, in `help()` and to Sphinx, which options they take."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import update_wrapper
from typing import Any, TypeVar, cast

__all__ = ["showing"]

F = TypeVar("F", bound=Callable[..., Any])


def showing(function: F, options: Iterable[tuple[str, Any, str]], mark: str, words: str) -> F:
    """Return a function whose signature and words name its options.

    Args:
        function: takes `**how`.
        options: the name, the default and the annotation of each.
        mark: stands in the docstring where the words about options belong.
        words: those, a line for each.
    """
    signature = inspect.signature(function)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    added = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
        )
        for name, default, annotation in options
    ]
    rest = inspect.Parameter("options", inspect.Parameter.VAR_KEYWORD, annotation="Any")
    made: Any = _awaited(function) if inspect.iscoroutinefunction(function) else _called(function)
    update_wrapper(made, function)
    # Else Sphinx looks for the defaults in the source of the function, which has none.
    del made.__wrapped__
    made.__signature__ = signature.replace(parameters=[*own, *added, rest])
    told = function.__doc__
    if told and mark in told:
        before = told.partition(mark)[0].rpartition("\n")[2]  # as far to the right
        made.__doc__ = told.replace(mark, words.replace("\n", f"\n{before}"))
    return cast(F, made)


def _called(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **how: Any) -> Any:
        return function(*args, **how)

    return call


def _awaited(function: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*args: Any, **how: Any) -> Any:
        return await function(*args, **how)

    return call
