"""Partial loads: what was fetched only in part is never written whole."""

from __future__ import annotations

import contextlib
import copy
import pickle
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom import Frame, SubFrame
from loom.errors import ProjectionError, QueryError

from .conftest import Commands, Runtime


class Vault(SubFrame):
    """Inside a nest."""

    _fields = {"gold", "skulls"}


class Nest(SubFrame):
    """Inside a bird."""

    _fields = {"name", "gold", "vault", "eggs", "owner"}


class Bird(Frame):
    """A frame that is loaded in part."""

    _fields = {"name", "nest", "nests", "map", "tags", "friend"}


class Owl(Frame):
    """A frame that refers and is referred to."""

    _fields = {"name", "nest", "nests", "map", "tags", "friend", "friends"}


WHOLE = {
    "_id": 1,
    "name": "b",
    "nest": {"name": "n", "gold": 1, "vault": {"gold": 2, "skulls": 3}, "eggs": [1, 2, 3]},
    "nests": [{"name": "x", "gold": 1}, {"name": "y", "gold": 2}],
    "map": {"a": {"name": "m", "gold": 5}},
    "tags": ["t", "u", "v"],
}

COPIES = [
    pytest.param(lambda frame: frame, id="itself"),
    pytest.param(copy.copy, id="copy"),
    pytest.param(copy.deepcopy, id="deepcopy"),
    pytest.param(lambda frame: pickle.loads(pickle.dumps(frame)), id="pickle"),
    pytest.param(lambda frame: pickle.loads(pickle.dumps(copy.copy(frame), 2)), id="pickled copy"),
]


def store(*documents: dict[str, Any]) -> None:
    """Put documents into the collection without Loom's help."""
    Bird.get_collection().insert_many(copy.deepcopy([*documents]))


def stored() -> Any:
    """Return what is stored."""
    return Bird.get_collection().find_one({"_id": 1})


@pytest.mark.parametrize("copied", COPIES)
@pytest.mark.parametrize(
    "projection",
    [
        {"nest": {"$sub": Nest, "gold": True}},
        {"name": True, "nest": {"$sub": Nest, "gold": True}},
        {"nest.gold": True},
        {"nest": {"gold": True}},
        {"nest": {"$sub": Nest, "gold": True, "vault": {"$sub": Vault, "gold": True}}},
        {"nest": {"gold": True, "vault": {"gold": True}}},
        {"nest.name": False},
        {"nest": {"vault": {"skulls": False}}},
        {"nest": {"$sub": Nest, "name": False, "eggs": False}},
    ],
)
async def test_mapping_loaded_in_part(call: Runtime, projection: Any, copied: Any) -> None:
    """A nested document is written by its leaves, so that what was not fetched stays."""
    store(WHOLE)
    bird = copied(await call(Bird).one(projection=projection))
    for names in ((), ("nest",), ("nest.gold",)):
        await call(bird).update(*names)
        assert WHOLE == stored()
    nest = bird.nest._document if isinstance(bird.nest, Nest) else bird.nest
    nest["gold"] = 10
    nest["new"] = {"deep": 1}
    await call(bird).update("nest")
    assert {**WHOLE["nest"], "gold": 10, "new": {"deep": 1}} == stored()["nest"]
    nest["gold"] = 11
    await call(bird).update()
    assert 11 == stored()["nest"]["gold"]
    del nest["gold"]
    await call(bird).update("nest")
    expected = {k: v for k, v in WHOLE["nest"].items() if k != "gold"}
    assert {**expected, "new": {"deep": 1}} == stored()["nest"]


@pytest.mark.parametrize("copied", COPIES)
async def test_assigned_anew_is_whole(call: Runtime, copied: Any) -> None:
    """What takes the place of a partial value is written as it is."""
    store(WHOLE)
    bird = copied(await call(Bird).one(projection={"nest.gold": True, "nests.gold": True}))
    bird.nest = Nest(name="new")
    bird.nests = [{"a": 1}]
    await call(bird).update()

    assert ({"name": "new"}, [{"a": 1}]) == (stored()["nest"], stored()["nests"])


@pytest.mark.parametrize("copied", COPIES)
@pytest.mark.parametrize(
    ("projection", "path"),
    [
        ({"nests.gold": True}, "nests"),
        ({"nests": {"$sub": Nest, "gold": True}}, "nests"),
        ({"nests": {"gold": False}}, "nests"),
        ({"nests.gold": True}, "nests.0"),
        ({"nests.gold": True}, "nests.0.gold"),
        ({"tags": {"$slice": 1}}, "tags"),
        ({"tags": {"$slice": [1, 1]}}, "tags.0"),
        ({"name": True, "tags": {"$slice": -1}}, "tags"),
        ({"nests": {"$elemMatch": {"gold": 2}}}, "nests"),
        ({"nests": {"$elemMatch": {"gold": 2}}}, "nests.0.gold"),
        ({"nest.eggs": {"$slice": 1}}, "nest.eggs"),
        ({"nest.eggs": {"$slice": 1}}, "nest.eggs.0"),
        ({"nest.eggs": {"$slice": 1}}, "nest"),
        ({"name": True, "nest.eggs": {"$slice": 1}}, "nest.eggs"),
    ],
)
async def test_list_loaded_in_part(
    call: Runtime, commands: Commands, projection: Any, path: str, copied: Any
) -> None:
    """A list of which only a part was fetched is never written, nor is a member of it."""
    store(WHOLE)
    bird = copied(await call(Bird).one(projection=projection))
    commands.clear()
    for write in (call(bird).update, lambda *f: call(Bird).update_many([bird], *f)):
        for names in ((path,), ()):
            with pytest.raises(ProjectionError, match=rf"Bird\.update(_many)?\.{path[:4]}"):
                await write(*names)
    assert [] == commands.sent

    bird.name = "new"
    await call(bird).update("name")
    assert {**WHOLE, "name": "new"} == stored()


async def test_rest_of_a_document_around_a_partial_list(call: Runtime) -> None:
    """Beside a partial list, paths can still be named."""
    store(WHOLE)
    bird = await call(Bird).one(projection={"nest.eggs": {"$slice": 1}})
    bird.nest["gold"] = 9
    await call(bird).update("nest.gold", "nest.vault", "name")

    assert {**WHOLE, "nest": {**WHOLE["nest"], "gold": 9}} == stored()


@pytest.mark.parametrize("copied", COPIES)
async def test_computed_value(call: Runtime, copied: Any) -> None:
    """The result of an expression is not written back, other fields are."""
    store(WHOLE)
    bird = copied(await call(Bird).one(projection={"name": True, "tags": "$nest.eggs"}))
    if bird.tags != [1, 2, 3]:
        pytest.skip("the server knows no expressions in find")
    with pytest.raises(ProjectionError, match="tags"):
        await call(bird).update()
    await call(bird).update("name")
    assert WHOLE == stored()


async def test_keys_that_no_path_can_name(call: Runtime, commands: Commands) -> None:
    """A partial document with such a key is refused rather than written to another place."""
    store(WHOLE)
    for key in ("a.b", "", "$x", 5):
        bird = await call(Bird).one(projection={"nest.gold": True})
        bird.nest[key] = 1
        commands.clear()
        for names in ((), ("nest",)):
            with pytest.raises(ProjectionError, match=r"Bird\.update\.nest: expected keys"):
                await call(bird).update(*names)
        assert [] == commands.sent


async def test_reload_forgets_a_partial_load(call: Runtime) -> None:
    """After a reload of the whole, the whole is written."""
    store(WHOLE)
    bird = await call(Bird).one(projection={"nests.gold": True})
    await call(bird).reload()
    bird.nests.append({"name": "z"})
    await call(bird).update("nests")

    assert [*WHOLE["nests"], {"name": "z"}] == stored()["nests"]


async def test_frames_of_each_and_references_remember(call: Runtime) -> None:
    """Frames from streams, lists of ids and references are as careful as others."""
    store(WHOLE, {"_id": 2, "friend": 1})
    projection = {"nests.gold": True}
    frames = [frame async for frame in call(Bird).each({"_id": 1}, projection=projection)]
    frames += await call(Bird).by_ids([1], projection=projection)
    frames += [
        (await call(Bird).by_id(2, projection={"friend": {"$ref": Bird, **projection}})).friend
    ]
    assert 3 == len(frames)
    for frame in frames:
        with pytest.raises(ProjectionError):
            await call(frame).update()


def test_whole_frames_remember_nothing(db: str) -> None:
    """Only frames that need it pay for it."""
    store(WHOLE)
    for projection in (
        None,
        {"name": True},
        {"tags": False},
        {"nest": {"$sub": Nest}},
        {"friend": {"$ref": Bird}},
        {"nothing.here": True},
    ):
        assert not hasattr(Bird.one(projection=projection), "_state"), projection


# Against an oracle: fetch whole documents, project and dereference one by one in Python

NAMES = ("name", "gold", "owner", "inner")
SCALAR = st.one_of(st.none(), st.integers(0, 5), st.sampled_from(["a", "b"]))


def documents(depth: int) -> st.SearchStrategy[Any]:
    """Embedded documents with scalars, references and deeper documents."""
    inner: Any = st.none()
    if depth:
        deeper = documents(depth - 1)
        inner = st.one_of(deeper, st.lists(st.one_of(deeper, st.integers(0, 9)), max_size=2))
    return st.fixed_dictionaries(
        {}, optional={"name": SCALAR, "gold": SCALAR, "owner": IDS, "inner": inner}
    )


ID = st.integers(1, 6)  # 1 to 4 are stored
IDS = st.one_of(
    st.none(), ID, st.lists(ID, max_size=3), st.dictionaries(st.sampled_from("xy"), ID, max_size=2)
)

OWLS = st.fixed_dictionaries(
    {},
    optional={
        "name": SCALAR,
        "tags": st.lists(SCALAR, max_size=3),
        "friend": IDS,
        "friends": st.lists(ID, max_size=3),
        "nest": documents(2),
        "nests": st.lists(documents(1), max_size=3),
        "map": st.dictionaries(st.sampled_from(["p", "owner", "name"]), documents(1), max_size=2),
    },
)

MISSING = st.sampled_from([None, "keep", "none", "drop"])


@st.composite
def references(draw: Any, depth: int) -> Any:
    """A `$ref`, with fields of its own or not."""
    mode = draw(MISSING)
    inner = draw(projections(depth - 1)) if depth and draw(st.booleans()) else {}
    return {"$ref": Owl, **({"$missing": mode} if mode else {}), **inner}


@st.composite
def subs(draw: Any, depth: int, directive: str = "$sub") -> Any:
    """A `$sub`, with or without names, references and deeper sub-frames."""
    made: dict[str, Any] = {directive: Nest}
    for name in draw(st.sets(st.sampled_from(["name", "gold"]))):
        made[name] = True
    if draw(st.booleans()):
        made["owner"] = draw(references(depth))
    if depth and draw(st.booleans()):
        made["inner"] = draw(subs(depth - 1))
    return made


@st.composite
def projections(draw: Any, depth: int) -> dict[str, Any]:
    """A projection of inclusions, references and sub-frames."""
    made: dict[str, Any] = {}
    for name in draw(st.sets(st.sampled_from(["name", "tags"]))):
        made[name] = True
    for name in draw(st.sets(st.sampled_from(["friend", "friends"]))):
        made[name] = draw(references(depth))
    if draw(st.booleans()):
        made["nest"] = draw(subs(depth))
    if draw(st.booleans()):
        made["nests"] = draw(subs(depth))
    if draw(st.booleans()):
        made["map"] = draw(subs(depth, "$sub."))
    return made


class Oracle:
    """Reads one document at a time, projects in Python, dereferences one id at a time."""

    def __init__(self, stored: dict[Any, Any]) -> None:
        self.stored = stored

    def load(self, document: dict[str, Any], projection: dict[str, Any]) -> dict[str, Any]:
        """Return what a frame should hold."""
        plain = {name for name, value in projection.items() if value is True}
        wanted = {*projection, "_id"} if plain else {*Owl._fields, *projection}
        found = {}
        for name, value in document.items():
            if name not in wanted:
                continue
            rule = projection.get(name)
            found[name] = self.narrow(value, rule) if isinstance(rule, dict) else value
        return self.resolve(found, projection)

    def narrow(self, value: Any, rule: dict[str, Any]) -> Any:
        """Leave only what the names of a `$sub` ask for."""
        plain = {name for name, inner in rule.items() if inner is True}
        if "$sub" not in rule or not plain:
            return value
        if isinstance(value, list):
            return [self.narrow(m, rule) for m in value if isinstance(m, (dict, list))]
        if not isinstance(value, dict):
            return ABSENT
        made = {}
        for name, inner in value.items():
            if name in rule:
                deeper = rule[name]
                narrowed = self.narrow(inner, deeper) if isinstance(deeper, dict) else inner
                if narrowed is not ABSENT:
                    made[name] = narrowed
        return made

    def resolve(self, document: dict[str, Any], projection: dict[str, Any]) -> dict[str, Any]:
        """Put documents in place of ids."""
        made = {}
        for name, value in document.items():
            rule = projection.get(name)
            if value is ABSENT:
                continue
            if isinstance(rule, dict) and "$ref" in rule:
                value = self.reference(value, rule)
            elif isinstance(rule, dict):
                value = self.embedded(value, rule, "$sub." in rule)
            if value is not ABSENT:
                made[name] = value
        return made

    def embedded(self, value: Any, rule: dict[str, Any], is_map: bool) -> Any:
        """Resolve references inside embedded documents."""
        if isinstance(value, list):
            return [self.embedded(member, rule, False) for member in value]
        if not isinstance(value, dict):
            return value
        if is_map:
            return {key: self.embedded(member, rule, False) for key, member in value.items()}
        return self.resolve(value, rule)

    def reference(self, value: Any, rule: dict[str, Any]) -> Any:
        """Return a document for an id, in lists and maps too."""
        if value is None:
            return None
        if isinstance(value, list):
            members = [self.reference(member, rule) for member in value]
            return [member for member in members if member is not ABSENT]
        if isinstance(value, dict):
            pairs = {key: self.reference(member, rule) for key, member in value.items()}
            return {key: member for key, member in pairs.items() if member is not ABSENT}
        if value in self.stored:
            inner = {k: v for k, v in rule.items() if not k.startswith("$")}
            return self.load(self.stored[value], inner)
        return {None: ("missing", value), "keep": ("missing", value), "none": None, "drop": ABSENT}[
            rule.get("$missing")
        ]


ABSENT = object()


def shown(value: Any) -> Any:
    """Return frames as dicts and missing ones as the oracle writes them."""
    if hasattr(value, "_document"):
        return shown(value._document)
    if getattr(type(value), "_is_missing", False):
        return ("missing", value._id)
    if isinstance(value, dict):
        return {key: shown(inner) for key, inner in value.items()}
    return [shown(inner) for inner in value] if isinstance(value, list) else value


PROPERTY = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@PROPERTY
@given(owls=st.lists(OWLS, min_size=4, max_size=4), projection=projections(2))
def test_loads_what_the_oracle_loads(
    db: str, owls: list[dict[str, Any]], projection: dict[str, Any]
) -> None:
    """Any projection over any documents gives the values that one-by-one reading gives."""
    kept = {n: {"_id": n, **copy.deepcopy(owl)} for n, owl in enumerate(owls, 1)}
    Owl.get_collection().drop()
    Owl.get_collection().insert_many(copy.deepcopy([*kept.values()]))
    asked = repr(projection)
    found = Owl.many(projection=projection, sort="_id")
    oracle = Oracle(kept)

    assert [oracle.load(document, projection) for document in kept.values()] == shown(found)
    assert asked == repr(projection)


@PROPERTY
@given(
    owls=st.lists(OWLS, min_size=4, max_size=4),
    projection=projections(1),
    names=st.lists(
        st.sampled_from(["name", "nest", "nests", "map", "friends", "nest.owner", "nests.0"]),
        max_size=2,
    ),
    way=st.sampled_from([lambda f: f, copy.copy, copy.deepcopy]),
    listening=st.booleans(),
)
def test_unmodified_frame_changes_nothing(
    db: str,
    owls: list[dict[str, Any]],
    projection: dict[str, Any],
    names: list[str],
    way: Any,
    listening: bool,
) -> None:
    """Writing back what was loaded leaves the stored document as it is, or is refused unsent.

    Naming a field in which `$missing` hid ids writes what is seen; that is asked for.
    """
    kept = [{"_id": n, **copy.deepcopy(owl)} for n, owl in enumerate(owls, 1)]
    collection = Owl.get_collection()
    collection.drop()
    collection.insert_many(copy.deepcopy(kept))
    if "'none'" in repr(projection) or "'drop'" in repr(projection):
        names = []

    def listener(sender: Any, frames: Any) -> None:
        """Change nothing."""

    if listening:
        Owl.listen("update", listener)
    try:
        for frame in Owl.many(projection=projection):
            with contextlib.suppress(QueryError):
                way(frame).update(*names)
            Owl.update_many([f for f in [way(frame)] if "name" in f], "name")
    finally:
        if listening:
            Owl.stop_listening("update", listener)

    assert kept == [*collection.find().sort("_id")]
