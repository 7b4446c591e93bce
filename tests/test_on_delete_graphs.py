"""Random graphs of documents and references: what a delete leaves, whole or cut off by a failure."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import pytest
from bson import ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.errors import OperationFailure, PyMongoError

from loom import Frame, Ref, Restricted, SubFrame, default
from loom.frames.marks import OnDelete

from .conftest import Runtime, Server
from .test_on_delete import in_transaction, skip_without_transactions

#: What each field does, and how it holds what it refers to.
WAYS: list[tuple[OnDelete, str]] = [
    ("cascade", "one"),
    ("cascade", "list"),
    ("cascade", "map"),
    ("cascade", "subs"),
    ("nullify", "one"),
    ("nullify", "list"),
    ("nullify", "map"),
    ("nullify", "subs"),
    ("pull", "list"),
    ("pull", "map"),
    ("restrict", "one"),
    ("restrict", "list"),
    ("default", "one"),
    ("default", "list"),
]
#: The ids of the documents, of several types; the last one never exists.
KEYS: list[Any] = [ObjectId(b"-1-2-3-4-5-6"), "text", 3, {"k": 4}, 5.5, b"six", "nobody"]
#: What takes the place of a deleted reference.
DEFAULT = "nobody"


def made(name: str) -> Any:
    """Return a class whose fields refer in all ways; each second one to the other class."""
    fields: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    subs: dict[str, Any] = {}
    for number, (act, shape) in enumerate(WAYS):
        target = f"Graph{'AB'[(number + (name == 'B')) % 2]}"
        ref: Any = Annotated[target, Ref(act)]
        field = f"{act}_{shape}"
        if shape == "subs":
            subs[field] = ref
        elif act == "default":
            fields[field] = ref if shape == "one" else Annotated[list[target], Ref(act)]
            defaults[field] = DEFAULT if shape == "one" else default(list)
        else:
            fields[field] = {"one": ref, "list": list[ref], "map": dict[str, ref]}[shape]
    sub = type(SubFrame)(
        f"Sub{name}", (SubFrame,), {"__annotations__": subs, "__module__": __name__}
    )
    fields["subs"] = f"list[Sub{name}]"
    namespace = {"__annotations__": fields, "__module__": __name__, **defaults}
    globals()[f"Sub{name}"] = sub
    return type(Frame)(f"Graph{name}", (Frame,), {**namespace, "_collection": f"kept.graph{name}"})


SubA: Any
SubB: Any
GraphA: Any = made("A")
GraphB: Any = made("B")
CLASSES = {"A": GraphA, "B": GraphB}

#: A document of the model: `(class, number)`; its references: `[(field, [targets])]`.
Key = tuple[str, int]


def target_of(name: str, number: int) -> str:
    """Return the class that a way leads to."""
    return "AB"[(number + (name == "B")) % 2]


@st.composite
def graphs(draw: Any, weight: int = 14) -> dict[Key, dict[int, list[int]]]:
    """Documents of two classes, and to which others their fields refer, by way and number."""
    names = st.tuples(st.sampled_from("AB"), st.integers(0, 5))
    keys = draw(st.lists(names, unique=True, min_size=4, max_size=10))
    found: dict[Key, dict[int, list[int]]] = {key: {} for key in keys}
    ways = st.sampled_from([n for n, (act, _) in enumerate(WAYS) for _ in range(WEIGHTS[act])])
    for _ in range(draw(st.integers(3, weight))):
        key, way = draw(st.sampled_from(keys)), draw(ways)
        # Mostly what is there; the number 6 never is.
        there = [number for name, number in keys if name == target_of(key[0], way)]
        targets = draw(st.lists(st.sampled_from([*there, 6]), min_size=1, max_size=3))
        found[key][way] = targets[:1] if WAYS[way][1] == "one" else targets
    return found


#: How often a way is taken: cascades make the trees, and few restrictions let them go.
WEIGHTS = {"cascade": 8, "nullify": 2, "pull": 3, "restrict": 1, "default": 2}


def document(key: Key, ways: dict[int, list[int]]) -> dict[str, Any]:
    """Return a document of the model as it is stored."""
    made: dict[str, Any] = {"_id": KEYS[key[1]]}
    subs: list[Any] = []
    for way, targets in sorted(ways.items()):
        act, shape = WAYS[way]
        ids = [KEYS[number] for number in targets]
        field = f"{act}_{shape}"
        if shape == "one":
            made[field] = ids[0]
        elif shape == "list":
            made[field] = ids
        elif shape == "map":
            made[field] = {f"k.{n}": id for n, id in enumerate(ids)}
        else:
            subs += [{field: id} for id in ids]
    return {**made, "subs": subs} if subs else made


def released(value: Any, shape: str, act: str, gone: list[Any]) -> Any:
    """Return the value of a field after a delete."""
    if act == "default":
        hit = value in gone if shape == "one" else any(v in gone for v in value)
        return (DEFAULT if shape == "one" else []) if hit else value
    if shape == "one":
        return None if value in gone else value
    if shape == "list":
        if act == "pull":
            return [v for v in value if v not in gone]
        return [None if v in gone else v for v in value]
    if act == "pull":
        return {k: v for k, v in value.items() if v not in gone}
    return {k: None if v in gone else v for k, v in value.items()}


class Model:
    """What a delete must leave."""

    def __init__(self, graph: dict[Key, dict[int, list[int]]], roots: list[Key]) -> None:
        self.graph = graph
        self.edges = [
            (key, way, (target_of(key[0], way), number))
            for key, ways in graph.items()
            for way, targets in ways.items()
            for number in targets
        ]
        doomed = {*roots}
        while (
            new := {
                source
                for source, way, target in self.edges
                if WAYS[way][0] == "cascade" and target in doomed
            }
            - doomed
        ):
            doomed |= new
        self.doomed = doomed
        refusing = {
            (source, way)
            for source, way, target in self.edges
            if WAYS[way][0] == "restrict" and target in doomed and source not in doomed
        }
        self.counts: dict[str, int] = {}
        for (name, _), way in refusing:
            place = f"Graph{name}.{WAYS[way][0]}_{WAYS[way][1]}"
            self.counts[place] = self.counts.get(place, 0) + 1

    def reached(self, key: Key, roots: list[Key]) -> set[Key]:
        """Return what a document refers to by cascades, at any depth, but not through the roots."""
        found: set[Key] = set()
        while (
            new := {
                target
                for source, way, target in self.edges
                if WAYS[way][0] == "cascade" and source in {key, *found} and target in self.graph
            }
            - found
            - {*roots}
        ):
            found |= new
        return found

    def before(self, key: Key) -> dict[str, Any]:
        """Return a document as it was."""
        return document(key, self.graph[key])

    def after(self, key: Key) -> dict[str, Any]:
        """Return a document that stays as it must be."""
        found = self.before(key)
        for way in self.graph[key]:
            act, shape = WAYS[way]
            gone = [KEYS[n] for name, n in self.doomed if name == target_of(key[0], way)]
            field = f"{act}_{shape}"
            if act == "cascade" or act == "restrict":
                continue
            if shape == "subs":
                for sub in found["subs"]:
                    if field in sub:
                        sub[field] = released(sub[field], "one", act, gone)
            else:
                found[field] = released(found[field], shape, act, gone)
        return found

    def left(self) -> dict[str, list[dict[str, Any]]]:
        """Return what must be stored in the end, by class."""
        stays = [key for key in self.graph if key not in self.doomed]
        return {name: [self.after(key) for key in stays if key[0] == name] for name in "AB"}

    def whole(self) -> dict[str, list[dict[str, Any]]]:
        """Return what was stored in the beginning, by class."""
        return {name: [self.before(key) for key in self.graph if key[0] == name] for name in "AB"}


def in_order(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return documents in the order of the model's ids."""
    return sorted(documents, key=lambda d: next(n for n, k in enumerate(KEYS) if k == d["_id"]))


def found_now() -> dict[str, list[dict[str, Any]]]:
    """Return what is stored, by class."""
    return {name: in_order([*cls.get_collection().find()]) for name, cls in CLASSES.items()}


def store(model: Model) -> None:
    """Store the documents of a model, and nothing else."""
    for name, cls in CLASSES.items():
        cls.get_collection().delete_many({})
        documents = [model.before(key) for key in model.graph if key[0] == name]
        if documents:
            cls.get_collection().insert_many(documents)


def run(call: Runtime, server: Server, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine as its runtime is run."""
    if call.is_async:
        return server.loop.run_until_complete(coroutine)
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("a blocking call suspended")


async def delete(call: Runtime, roots: list[Key]) -> None:
    """Delete documents of one class."""
    cls = CLASSES[roots[0][0]]
    await call(cls).delete_many([{"_id": KEYS[number]} for _, number in roots])


PROPERTY = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
LISTENING = st.booleans()


@contextmanager
def listeners(is_listening: bool) -> Iterator[list[tuple[str, str, Any]]]:
    """Note the events of both classes, if wanted."""
    told: list[tuple[str, str, Any]] = []
    kept = []
    for name, cls in CLASSES.items() if is_listening else ():
        for event in ("update", "updated", "delete", "deleted"):

            def note(frames: Any, name: str = name, event: str = event) -> None:
                told.extend((event, name, frame["_id"]) for frame in frames)

            cls.listen(event, note)
            kept.append((cls, event, note))
    try:
        yield told
    finally:
        for cls, event, note in kept:
            cls.stop_listening(event, note)


@PROPERTY
@given(graph=graphs(), data=st.data(), is_listening=LISTENING)
def test_random_graphs(
    server: Server,
    call: Runtime,
    graph: dict[Key, dict[int, list[int]]],
    data: Any,
    is_listening: bool,
) -> None:
    """What a model of documents and references says must remain, remains; each event comes once."""
    roots = data.draw(roots_of(graph))
    model = Model(graph, roots)
    store(model)
    with listeners(is_listening) as told:
        if model.counts:
            with pytest.raises(Restricted) as caught:
                run(call, server, delete(call, roots))
            assert model.counts == caught.value.counts
            assert {n: in_order(d) for n, d in model.whole().items()} == found_now()
            assert {"delete"} >= {event for event, *_ in told}
            return
        run(call, server, delete(call, roots))
    assert {n: in_order(d) for n, d in model.left().items()} == found_now()
    if is_listening:
        for event in ("delete", "deleted"):
            gone = [(name, number_of(id)) for e, name, id in told if e == event]
            assert sorted(model.doomed) == sorted(gone)
        changed = {
            key
            for key in graph
            if key not in model.doomed and model.before(key) != model.after(key)
        }
        assert changed == {(name, number_of(id)) for e, name, id in told if e == "updated"}


def number_of(id: Any) -> int:
    """Return the number of an id of the model."""
    return next(n for n, key in enumerate(KEYS) if key == id)


def roots_of(graph: dict[Key, dict[int, list[int]]]) -> Any:
    """Return documents of one class to delete."""
    names = sorted({name for name, _ in graph})
    return st.sampled_from(names).flatmap(
        lambda name: st.lists(
            st.sampled_from([key for key in graph if key[0] == name]),
            unique=True,
            min_size=1,
            max_size=2,
        )
    )


# Failures


@contextmanager
def failing(server: Server, skip: int, data: dict[str, Any]) -> Iterator[None]:
    """Let the writes after the first `skip` fail."""
    admin = server.client.admin
    point = {"configureFailPoint": "failCommand", "mode": {"skip": skip}}
    try:
        admin.command({**point, "data": {"failCommands": ["delete", "update"], **data}})
    except OperationFailure as error:
        pytest.skip(f"this deployment has no fail points: {error}")
    try:
        yield
    finally:
        admin.command({"configureFailPoint": "failCommand", "mode": "off"})


#: The write was applied; only its acknowledgement is not what was asked for.
CONCERN = {"writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}}
FAULTS = st.sampled_from(
    [
        {"errorCode": 8000},
        {"errorCode": 10107, "errorLabels": []},
        {"closeConnection": True},
        CONCERN,
    ]
)


@PROPERTY
@given(
    graph=graphs(18),
    data=st.data(),
    skip=st.integers(0, 7),
    fault=FAULTS,
    is_listening=LISTENING,
)
def test_failures_outside_a_transaction(
    server: Server,
    call: Runtime,
    graph: dict[Key, dict[int, list[int]]],
    data: Any,
    skip: int,
    fault: dict[str, Any],
    is_listening: bool,
) -> None:
    """The roots are there, what stays refers to nothing that is gone, and again finishes it."""
    model = Model(graph, roots := data.draw(roots_of(graph)))
    if model.counts:
        return
    store(model)
    with listeners(is_listening), failing(server, skip, fault):
        try:
            run(call, server, delete(call, roots))
            failed = False
        except PyMongoError:
            failed = True
    now = {
        (name, number_of(document["_id"])): document
        for name, documents in found_now().items()
        for document in documents
    }
    gone = graph.keys() - now.keys()
    assert gone <= model.doomed
    assert not (failed and gone & {*roots}) or fault == CONCERN
    for key, document in now.items():
        if key not in model.doomed:
            assert is_between(document, model.before(key), model.after(key))
    for source, way, target in model.edges:
        if source in now and target in gone:
            if source not in model.doomed:
                assert not refers(now[source], way, KEYS[target[1]])
            elif WAYS[way][0] == "cascade" and source not in roots:
                assert source in model.reached(target, roots)
    if failed:
        run(call, server, delete(call, roots))
    assert {n: in_order(d) for n, d in model.left().items()} == found_now()


def refers(document: dict[str, Any], way: int, id: Any) -> bool:
    """Tell whether a stored document refers to an id by a way."""
    act, shape = WAYS[way]
    field = f"{act}_{shape}"
    if shape == "subs":
        return any(sub.get(field) == id for sub in document["subs"])
    value = document[field]
    if shape == "one":
        return bool(value == id)
    return id in (value if shape == "list" else value.values())


def is_between(document: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Tell whether each reference of a document is as it was, or as it has to be."""
    return document.keys() == before.keys() and all(
        mixed(value, before[field], after[field]) for field, value in document.items()
    )


def mixed(value: Any, before: Any, after: Any) -> bool:
    """Tell a value whose members are each as they were or as they have to be."""
    if value in (before, after):
        return True
    if isinstance(value, list) and len(value) == len(before) == len(after):
        return all(map(mixed, value, before, after))
    if isinstance(value, dict) and value.keys() == before.keys() == after.keys():
        return all(mixed(value[k], before[k], after[k]) for k in value)
    # A list or map in the middle of being pulled from.
    members = value if isinstance(value, list) else value.items()
    kept = after if isinstance(after, list) else after.items()
    whole = before if isinstance(before, list) else before.items()
    return all(member in members for member in kept) and all(m in whole for m in members)


@PROPERTY
@given(graph=graphs(18), data=st.data(), skip=st.integers(0, 7), is_listening=LISTENING)
def test_failures_inside_a_transaction(
    server: Server,
    call: Runtime,
    graph: dict[Key, dict[int, list[int]]],
    data: Any,
    skip: int,
    is_listening: bool,
) -> None:
    """Nothing at all has happened when a command of it failed."""
    skip_without_transactions(server)
    model = Model(graph, roots := data.draw(roots_of(graph)))
    if model.counts:
        return
    store(model)

    async def body() -> None:
        await delete(call, roots)

    with listeners(is_listening), failing(server, skip, {"errorCode": 8000}):
        try:
            run(call, server, in_transaction(call, body))
            failed = False
        except PyMongoError:
            failed = True
    expected = model.whole() if failed else model.left()

    assert {n: in_order(d) for n, d in expected.items()} == found_now()
