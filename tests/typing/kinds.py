"""What type checkers make of kinds, upgrades and reports."""

from typing import Any

from typing_extensions import assert_type

from loom import Frame
from loom.frames.drifting import Drift, drift
from loom.frames.migrating import Migration, migrate


class Animal(Frame):
    _kind_field = "type"
    _schema_version = 2

    name: str


class Dog(Animal):
    _kind = "dog"

    barks: int

    @staticmethod
    def _upgrade(document: dict[str, Any], version: int) -> None:
        document["barks"] = 1


class Cat(Animal):
    @classmethod
    def _upgrade(cls, document: dict[str, Any], version: int) -> dict[str, Any]:
        return document


assert_type(Animal.many(), list[Animal])
assert_type(Dog.one(required=True), Dog)
assert_type(migrate(Dog), Migration)
assert_type(drift(Dog), Drift)
