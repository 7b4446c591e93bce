"""What a projection fetches: the paths that are sent to MongoDB, and what they bring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ProjectionError
from .paths import ancestors, is_ancestor
from .plans import PartialTree

__all__ = [
    "Flat",
    "fetches_the_rest",
    "is_fetched",
    "keeps_the_rest",
    "partial",
    "with_key",
    "with_version",
    "without",
]


class Flat:
    """The driver projection while it is put together."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.paths: dict[str, Any] = {}
        self.included: str | None = None
        self.excluded: str | None = None
        #: an inclusion inside a sub-frame, which narrows it but leaves the rest as it is
        self.narrowed: str | None = None
        #: fields of the frame itself that were narrowed so
        self.narrow_fields: set[str] = set()
        #: paths of references and whole sub-frames: fetched in either kind, they decide nothing
        self.loose: set[str] = set()

    def add_loose(self, path: str) -> None:
        """Add the path of a reference or of a whole sub-frame."""
        if not any(self.paths[above] is True for above in ancestors(path) if above in self.paths):
            self.loose.add(path)
            self.add(path, True, decides=False)

    def add(self, path: str, value: Any, *, decides: bool = True) -> None:
        """Add a path; it `decides` whether the projection includes or excludes."""
        for other in [*self.paths]:
            if is_ancestor(path, other) and other in self.loose and value is True:
                del self.paths[other]  # comes with the whole
            elif other == path or is_ancestor(path, other) or is_ancestor(other, path):
                raise ProjectionError(
                    f"{self.place}: expected each path once, got {other!r} and {path!r}; "
                    "keep one of them"
                )
        self.paths[path] = value
        if path != "_id" and decides:
            if value is True:
                self.included = self.included or path
            elif value is False:
                self.excluded = self.excluded or path
        included = self.included or self.narrowed
        if included and self.excluded:
            raise ProjectionError(
                f"{self.place}: expected inclusions or exclusions, got {included!r} included "
                f"and {self.excluded!r} excluded; keep one kind"
            )

    def refuse_inside(self, name: str) -> None:
        """Refuse paths into what is put under a name and not fetched."""
        for path in self.paths:
            if is_ancestor(name, path):
                raise ProjectionError(
                    f"{self.place}: expected {name!r} once, got it with $from and as {path!r}; "
                    "name the fields beside $from"
                )

    def add_all(self, inner: Flat) -> None:
        """Add what was named inside a sub-frame."""
        self.narrowed = self.narrowed or inner.included or inner.narrowed
        for path, value in inner.settled().items():
            if path in inner.loose:
                self.add_loose(path)
            else:
                self.add(path, value, decides=value is False)

    def settled(self) -> dict[str, Any]:
        """Return the paths as MongoDB takes them."""
        if self.excluded:
            # What an exclusion does not name is there; MongoDB refuses a mixture.
            return {p: v for p, v in self.paths.items() if v is not True or p == "_id"}
        return self.paths

    def beside(self, whole: dict[str, Any] | None) -> dict[str, Any] | None:
        """Return the paths together with everything else, for references and sub-frames alone."""
        operators = {p: v for p, v in self.paths.items() if v is not True}
        if whole is None or any("." in path for path in operators):
            return operators or None
        driver = dict(whole)
        for path, value in self.paths.items():
            root = path.partition(".")[0]
            if root in self.narrow_fields:
                driver.pop(root, None)
                driver[path] = value
            else:
                driver[root] = value
        return driver


def with_key(driver: dict[str, Any] | None, key: str | None, place: str) -> dict[str, Any] | None:
    """Return a driver projection that fetches `key` too."""
    if driver is None or key is None or driver.get(key) is True:
        return driver
    if key in driver or any(path.startswith(f"{key}.") for path in driver):
        raise ProjectionError(
            f"{place}.{key}: expected {key!r} to be fetched whole, got it excluded or changed; "
            "references are put in place by it"
        )
    return driver if key == "_id" or fetches_the_rest(driver) else {**driver, key: True}


def with_version(driver: dict[str, Any] | None, version: str | None) -> dict[str, Any] | None:
    """Return a driver projection that fetches the number of a document's version too."""
    if driver is None or version is None:
        return driver
    fetched = {path: value for path, value in driver.items() if path != version}
    return fetched if fetches_the_rest(driver) else {**fetched, version: True}


def without(driver: dict[str, Any] | None, name: str) -> dict[str, Any] | None:
    """Return a driver projection that does not ask for a field: something else is put there."""
    if driver is None or driver.get(name) is not True:
        return driver
    rest = {path: value for path, value in driver.items() if path != name}
    return rest or {"_id": True}


# What a driver projection fetches


def keeps_the_rest(operators: Any) -> bool:
    """Tell the operators beside which MongoDB returns everything else, too."""
    return isinstance(operators, dict) and operators.keys() <= {"$slice", "$meta"}


def fetches_the_rest(driver: Mapping[str, Any]) -> bool:
    """Tell whether paths that are not named come too."""
    deciding = [v for p, v in driver.items() if p != "_id" and not keeps_the_rest(v)]
    if deciding:
        return all(value is False for value in deciding)
    return driver.get("_id", False) is False


def is_fetched(driver: Mapping[str, Any] | None, path: str) -> bool:
    """Tell whether a path, or something inside it, is fetched."""
    if driver is None:
        return True
    for other, value in driver.items():
        if other == path or is_ancestor(other, path):
            return value is not False
        if is_ancestor(path, other) and value is not False:
            return True
    return fetches_the_rest(driver)


def partial(driver: Mapping[str, Any]) -> tuple[PartialTree, frozenset[str]]:
    """Return the paths that are fetched only in part, and those of computed values."""
    tree: PartialTree = {}
    computed = set()
    for path, value in driver.items():
        *parents, last = path.split(".")
        level = tree
        for key in parents:
            level = level.setdefault(key, {})
        if not isinstance(value, bool):
            level.setdefault(last, {})
            computed.add(path)
    return tree, frozenset(computed)
