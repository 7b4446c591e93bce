"""Random sequences of writes by several copies of the same documents, against a model."""

from __future__ import annotations

import asyncio
import copy
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

import loom
from loom import Frame, Gone, IncrCounter, SubFrame
from tests.conftest import Server


class Chest(SubFrame):
    """An embedded document."""

    a: int
    b: list[int]
    c: Chest


class Dragon(Frame):
    """What is written."""

    name: str
    tags: list[int]
    chest: Chest
    map: dict[str, Any]
    visits: IncrCounter


NAMES = st.sampled_from(["x", "y", "z"])
VALUES = {
    "name": NAMES | st.none(),
    "tags": st.lists(st.integers(0, 3), max_size=3),
    "chest": st.fixed_dictionaries(
        {}, optional={"a": st.integers(0, 3), "b": st.lists(st.integers(0, 2), max_size=2)}
    ),
    "map": st.dictionaries(NAMES, st.integers(0, 3) | st.booleans(), max_size=3),
}
FIELDS = st.sampled_from(sorted(VALUES))
DOCUMENTS = st.fixed_dictionaries({"visits": st.just(0)}, optional=VALUES)


class Copy:
    """A frame, and what a program that holds it expects of it."""

    def __init__(self, frame: Any, view: dict[str, Any]) -> None:
        self.frame = frame
        #: what the frame holds, and what of it is known to be stored
        self.view = copy.deepcopy(view)
        self.base = copy.deepcopy(view)
        self.assigned: set[str] = set()

    @property
    def id(self) -> Any:
        return self.view["_id"]

    def changes(self) -> tuple[dict[str, Any], list[str], int]:
        """Return what `save` has to set, by path, to remove, and to add to the counter."""
        to_set: dict[str, Any] = {}
        to_unset: list[str] = []
        for field, value in self.view.items():
            if field in self.assigned:
                to_set[field] = value
            elif field in ("tags", "chest", "map"):
                self._differ(field, self.base.get(field), value, to_set, to_unset)
        return to_set, to_unset, self.view.get("visits", 0) - self.base.get("visits", 0)

    def _differ(self, path: str, before: Any, now: Any, to_set: Any, to_unset: Any) -> None:
        if not isinstance(before, dict) or not isinstance(now, dict):
            if repr(before) != repr(now):
                to_set[path] = now
            return
        for key in {**before, **now}:
            if key not in now:
                to_unset.append(f"{path}.{key}")
            elif key not in before:
                to_set[f"{path}.{key}"] = now[key]
            else:
                self._differ(f"{path}.{key}", before[key], now[key], to_set, to_unset)

    def settle(self) -> None:
        """Note that all was stored."""
        self.base = copy.deepcopy(self.view)
        self.assigned.clear()


def put(document: dict[str, Any], path: str, value: Any) -> None:
    """Set a value at a path, as `$set` does."""
    *above, last = path.split(".")
    for name in above:
        document = document.setdefault(name, {})
    document[last] = copy.deepcopy(value)


class Machine(RuleBasedStateMachine):
    """Writes by several copies."""

    server: Server
    is_async = False
    steps = 0
    copies = Bundle("copies")

    @initialize()
    def connect(self) -> None:
        self.name = f"loom_test_{uuid.uuid4().hex[:12]}"
        loom.connect(self.server.client, aio=self.server.aio, db=self.name)
        self.stored: dict[Any, dict[str, Any]] = {}
        self.number = 0

    def teardown(self) -> None:
        if hasattr(self, "name"):
            self.server.client.drop_database(self.name)

    def call(self, target: Any, method: str, *arguments: Any, **options: Any) -> Any:
        """Call a method, blocking or awaited."""
        type(self).steps += 1
        if not self.is_async:
            return getattr(target, method)(*arguments, **options)
        work = getattr(target.aio, method)(*arguments, **options)
        return self.server.loop.run_until_complete(work)

    # Rules

    @rule(target=copies, document=DOCUMENTS)
    def insert(self, document: dict[str, Any]) -> Copy:
        self.number += 1
        given = {"_id": self.number, **copy.deepcopy(document)}
        wrapped = copy.deepcopy(given)
        if "chest" in wrapped:
            wrapped["chest"] = Chest(wrapped["chest"])
        frame = Dragon(wrapped)
        self.call(frame, "insert")
        self.stored[self.number] = copy.deepcopy(given)
        return Copy(frame, given)

    @rule(target=copies, one=copies)
    def load_another(self, one: Copy) -> Copy:
        frame = self.call(Dragon, "by_id", one.id)
        if one.id not in self.stored:
            assert frame is None
            return one
        return Copy(frame, self.stored[one.id])

    @rule(one=copies, field=FIELDS, data=st.data())
    def assign(self, one: Copy, field: str, data: Any) -> None:
        value = data.draw(VALUES[field])
        setattr(one.frame, field, Chest(copy.deepcopy(value)) if field == "chest" else value)
        one.view[field] = copy.deepcopy(value)
        one.assigned.add(field)

    @rule(one=copies, number=st.integers(0, 9))
    def append(self, one: Copy, number: int) -> None:
        if one.frame.tags is not None:
            one.frame.tags.append(number)
            one.view["tags"].append(number)

    @rule(one=copies, number=st.integers(0, 9), key=st.sampled_from(["a", "c"]))
    def edit_chest(self, one: Copy, number: int, key: str) -> None:
        chest = one.frame.chest
        if chest is None:
            return
        if key == "c":
            chest.c = Chest(a=number)
            one.view["chest"]["c"] = {"a": number}
        else:
            chest.a = number
            one.view["chest"]["a"] = number

    @rule(one=copies, key=NAMES, value=st.integers(0, 3) | st.booleans() | st.none())
    def edit_map(self, one: Copy, key: str, value: Any) -> None:
        if one.frame.map is None:
            return
        if value is None:
            one.frame["map"].pop(key, None)
            one.view["map"].pop(key, None)
        else:
            one.frame.map[key] = one.view["map"][key] = value

    @rule(one=copies, amount=st.integers(-3, 3))
    def count(self, one: Copy, amount: int) -> None:
        one.frame.visits += amount
        one.view["visits"] += amount

    @rule(one=copies)
    def save(self, one: Copy) -> None:
        to_set, to_unset, added = one.changes()
        counted = "visits" in one.assigned or added
        if not (to_set or to_unset or counted):
            self.call(one.frame, "save")
            return
        if one.id not in self.stored:
            with pytest.raises(Gone):
                self.call(one.frame, "save")
            return
        self.call(one.frame, "save")
        document = self.stored[one.id]
        for path, value in to_set.items():
            put(document, path, value)
        for path in to_unset:
            root, key = path.split(".", 1)
            holder = document.get(root)
            for name in key.split(".")[:-1]:
                holder = holder.get(name) if isinstance(holder, dict) else None
            if isinstance(holder, dict):
                holder.pop(key.split(".")[-1], None)
        document["visits"] += added
        one.settle()

    @rule(one=copies, field=FIELDS)
    def update(self, one: Copy, field: str) -> None:
        if field not in one.view:
            with pytest.raises(loom.QueryError):
                self.call(one.frame, "update", field)
            return
        if one.id not in self.stored:
            with pytest.raises(Gone):
                self.call(one.frame, "update", field)
            return
        self.call(one.frame, "update", field)
        put(self.stored[one.id], field, one.view[field])
        one.base[field] = copy.deepcopy(one.view[field])
        one.assigned.discard(field)

    @rule(one=copies, field=FIELDS)
    def unset(self, one: Copy, field: str) -> None:
        if one.id not in self.stored:
            with pytest.raises(Gone):
                self.call(one.frame, "unset", field)
            return
        self.call(one.frame, "unset", field)
        for document in (self.stored[one.id], one.view, one.base):
            document.pop(field, None)
        one.assigned.discard(field)

    @rule(one=copies, amount=st.integers(-3, 3))
    def inc(self, one: Copy, amount: int) -> None:
        if one.id not in self.stored:
            with pytest.raises(Gone):
                self.call(one.frame, "inc", "visits", amount)
            return
        pending = one.view["visits"] - one.base["visits"]
        self.call(one.frame, "inc", "visits", amount)
        self.stored[one.id]["visits"] += amount
        one.base["visits"] = self.stored[one.id]["visits"]
        one.view["visits"] = one.base["visits"] + pending

    @rule(one=copies)
    def reload(self, one: Copy) -> None:
        if one.id not in self.stored:
            with pytest.raises(Gone):
                self.call(one.frame, "reload")
            return
        self.call(one.frame, "reload")
        one.view = copy.deepcopy(self.stored[one.id])
        one.settle()

    @rule(one=copies)
    def delete(self, one: Copy) -> None:
        self.call(one.frame, "delete")
        self.stored.pop(one.id, None)

    @rule(target=copies, one=consumes(copies))
    def replace_by_copy(self, one: Copy) -> Copy:
        other = Copy(copy.deepcopy(one.frame), one.view)
        other.base, other.assigned = one.base, one.assigned
        return other

    # What holds

    @invariant()
    def the_server_holds_what_the_model_says(self) -> None:
        if hasattr(self, "stored"):
            found = {d["_id"]: d for d in Dragon.get_collection().find()}
            assert self.stored == found


class AwaitedMachine(Machine):
    """The same, awaited."""

    is_async = True


@pytest.mark.parametrize("machine", [Machine, AwaitedMachine])
def test_random_writes(server: Server, machine: Any) -> None:
    """After every step the server holds what a plain model of the same steps holds."""
    machine.server = server
    assert isinstance(server.loop, asyncio.AbstractEventLoop)
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=30,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert machine.steps > 200
