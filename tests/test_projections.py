"""Projections: what is fetched, how it is wrapped, and what is refused."""

from __future__ import annotations

from typing import Annotated, Any, Optional

import pytest
from bson import Regex

from loom import Frame, Q, SubFrame
from loom.errors import ProjectionError

from .conftest import Commands, Runtime
from .zoo import Dragon, Inventory, Item, Lair


class Gem(SubFrame):
    """A stone."""

    cut: str
    inner: Optional[Gem]  # noqa: UP045 - this spelling too


class Cave(SubFrame):
    """A home with everything a projection can meet."""

    name: str
    gold: int
    owner: Any
    best: Gem
    gems: list[Gem]
    drawers: dict[str, Gem]


class Wyrm(Frame):
    """A frame with every shape of embedded document."""

    name: str
    code: str
    home: Cave
    homes: list[Cave]
    places: dict[str, Cave]
    maybe: Cave | None
    noted: Annotated[Cave | None, "a note"]
    tags: list[str]
    friend: Any
    friends: Any


class Beast(Frame):
    """A frame whose embedded documents have no annotation."""

    _fields = {"name", "code", "home", "homes", "places", "tags", "friend", "friends"}


class Loose(Frame):
    """A frame without fields takes whole documents."""


class Den(SubFrame):
    """A sub-frame without annotations."""

    _fields = {"name", "gold", "owner", "best", "deep"}


def plain(value: Any) -> Any:
    """Return a value with its frames as dicts."""
    if hasattr(value, "_document"):
        return plain(value._document)
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def sent(commands: Commands) -> Any:
    """Return the projection of the last find."""
    return next(b.get("projection") for b in reversed(commands.bodies) if "find" in b)


async def store(cls: Any, *documents: dict[str, Any]) -> None:
    """Put documents into a collection without Loom's help."""
    cls.get_collection().insert_many(list(documents))


# What is fetched


ALL = dict.fromkeys(Beast._fields, True)

FETCHED = [
    (None, ALL),
    ({}, ALL),
    ([], ALL),
    ({"name": True}, {"name": True}),
    ({"name": 1}, {"name": True}),
    ({"name": 1.0, "_id": 0}, {"name": True, "_id": False}),
    (["name", "code"], {"name": True, "code": True}),
    ({"name", "code"}, {"name": True, "code": True}),
    ({"name": 1, "code": 1}.keys(), {"name": True, "code": True}),
    ({"name": False}, {"name": False}),
    ({"_id": False}, {"_id": False}),
    ({"_id": True}, {"_id": True}),
    ({"name": False, "_id": True}, {"name": False, "_id": True}),
    ({"home": {"name": True}}, {"home.name": True}),
    ({"home.name": True}, {"home.name": True}),
    ({"home": {"best": {"cut": False}}}, {"home.best.cut": False}),
    # references and sub-frames alone bring everything
    ({"friend": {"$ref": Beast}}, ALL),
    ({"friend": {"$ref": Beast, "name": True}}, ALL),
    ({"home.owner": {"$ref": Beast}}, ALL),
    ({"home": {"owner": {"$ref": Beast}}}, ALL),
    ({"home": {"$sub": Den}}, ALL),
    ({"home": {"$sub": Den, "owner": {"$ref": Beast}}}, ALL),
    ({"home": {"$sub": Den}, "home.owner": {"$ref": Beast}}, ALL),
    ({"home.owner": {"$ref": Beast}, "home": {"$sub": Den}}, ALL),
    ({"places": {"$sub.": Den}}, ALL),
    ({"places": {"$sub.": Den, "name": True}}, ALL),
    ({"home.best": {"$sub": Gem}}, ALL),
    ({"home.best": {"$sub": Gem, "cut": True}}, ALL),
    ({"home": {"$sub": Den, "best": {"$sub": Gem, "cut": True}}}, ALL),
    ({"other": {"$ref": Beast}}, {**ALL, "other": True}),
    # a sub-frame with names is narrowed, everything beside it comes
    (
        {"home": {"$sub": Den, "name": True}},
        {**{k: v for k, v in ALL.items() if k != "home"}, "home.name": True},
    ),
    (
        {"home": {"$sub": Den, "name": True}, "home.owner": {"$ref": Beast}},
        {**{k: v for k, v in ALL.items() if k != "home"}, "home.name": True, "home.owner": True},
    ),
    ({"home": {"$sub": Den, "name": False}}, {"home.name": False}),
    ({"home": {"$sub": Den, "best": {"$sub": Gem, "cut": False}}}, {"home.best.cut": False}),
    # with a plain field only what is named comes
    ({"name": True, "friend": {"$ref": Beast}}, {"name": True, "friend": True}),
    ({"name": True, "home.owner": {"$ref": Beast}}, {"name": True, "home.owner": True}),
    ({"name": True, "home": {"$sub": Den}}, {"name": True, "home": True}),
    ({"name": True, "home": {"$sub": Den, "gold": True}}, {"name": True, "home.gold": True}),
    ({"home": True, "home.owner": {"$ref": Beast}}, {"home": True}),
    ({"home.owner": {"$ref": Beast}, "home": True}, {"home": True}),
    # an exclusion brings references without naming them
    ({"name": False, "friend": {"$ref": Beast}}, {"name": False}),
    ({"name": False, "home": {"$sub": Den}}, {"name": False}),
    # operators
    ({"tags": {"$slice": 2}}, {**ALL, "tags": {"$slice": 2}}),
    ({"home.tags": {"$slice": 2}}, {"home.tags": {"$slice": 2}}),
    ({"name": True, "tags": {"$slice": [1, 2]}}, {"name": True, "tags": {"$slice": [1, 2]}}),
    ({"homes": {"$elemMatch": {"gold": 1}}}, {"homes": {"$elemMatch": {"gold": 1}}}),
    ({"homes": {"$elemMatch": Q.gold > 1}}, {"homes": {"$elemMatch": {"gold": {"$gt": 1}}}}),
    ({"friends": {"$ref": Beast, "$slice": 2}}, {**ALL, "friends": {"$slice": 2}}),
    ({"tags.$": True}, {"tags.$": True}),
]


@pytest.mark.parametrize(("projection", "driver"), FETCHED)
def test_driver_projection(db: str, commands: Commands, projection: Any, driver: Any) -> None:
    """A projection fetches what MongoFrames' would, and a sub-frame with names is narrowed."""
    from loom.frames.projections import plan_for

    assert driver == plan_for(Beast, projection).driver


async def test_projection_is_sent(call: Runtime, commands: Commands) -> None:
    """The command carries the compiled projection."""
    await call(Beast).many(projection={"name": True, "home": {"$sub": Den, "gold": True}})

    assert {"name": True, "home.gold": True} == sent(commands)


async def test_open_class_fetches_whole_documents(call: Runtime, commands: Commands) -> None:
    """A class without fields sends no projection for references and sub-frames alone."""
    await store(Loose, {"_id": 1, "a": 1, "home": {"name": "x", "gold": 1}})
    commands.clear()
    found = await call(Loose).one(projection={"home": {"$sub": Den, "name": True}})

    assert sent(commands) is None
    assert (1, 1) == (found["a"], found["home"].gold)


# Errors

REFUSED = [
    (
        {"name": True, "code": False},
        r"Beast: expected inclusions or exclusions, got 'name' .*'code'",
    ),
    ({"code": False, "home": {"$sub": Den, "name": True}}, r"Beast: .*'home.name' included"),
    ({"friend": {"$ref": Den}}, r"Beast\.friend: expected a Frame class .*use \$sub"),
    ({"friend": {"$ref": "Beast"}}, r"Beast\.friend: expected a Frame class after \$ref, got 'B"),
    ({"friend": {"$ref": Beast()}}, r"Beast\.friend: expected a Frame class"),
    ({"home": {"$sub": Beast}}, r"Beast\.home: expected a SubFrame class .*use \$ref"),
    ({"home": {"$sub": dict}}, r"Beast\.home: expected a SubFrame class"),
    (
        {"home": {"$sub": Den, "$ref": Beast}},
        r"Beast\.home: expected one of .* got \$ref and \$sub",
    ),
    ({"home": {"$sub": Den, "$sub.": Den}}, r"Beast\.home: expected one of"),
    ({"home": {"name": {"$ref_key": "code"}}}, r"Beast\.home\.name: expected \$ref beside"),
    ({"home": {"$missing": "keep"}}, r"Beast\.home: expected \$ref beside \$missing"),
    ({"friend": {"$ref": Beast, "$missing": "drip"}}, r"Beast\.friend: .*keep, none, drop, raise"),
    ({"friend": {"$ref": Beast, "$ref_key": 5}}, r"Beast\.friend: .*after \$ref_key, got 5"),
    (
        {"friend": {"$ref": Beast, "$ref_key": "a.b"}},
        r"Beast\.friend: .*after \$ref_key, got 'a.b'",
    ),
    ({"friend": {"$ref": Beast, "_id": False}}, r"Beast\.friend: Beast\._id: .*fetched whole"),
    ({"friend": {"$ref": Beast, "$ref_key": "code", "code": False}}, r"'code' to be fetched"),
    ({"friend": {"$ref": Beast, "name": "x"}}, r"Beast\.friend: Beast\.name: expected True, False"),
    ({"name": None}, r"Beast\.name: expected True, False or a dict, got None"),
    ({"name": "yes"}, r"Beast\.name: expected True, False or a dict, got 'yes'"),
    ({"name": [1]}, r"Beast\.name: expected True, False or a dict, got \[1\]"),
    ({"name": 2}, r"Beast\.name: expected True, False or a dict, got 2"),
    ({"name": Q.name}, r"Beast\.name: expected True, False or a dict"),
    ({"name": Q.name == 1}, r"Beast\.name: expected True, False or a dict"),
    ({"friend": Beast}, r"Beast\.friend: expected True, False or a dict.*write \{'\$ref': Beast\}"),
    ({"lair": Cave}, r"Beast\.lair: expected True, False or a dict.*write \{'\$sub': Cave\}"),
    ({"name": {}}, r"Beast\.name: expected True, False or a dict with content, got \{\}"),
    ({"home": {"name": True, "$slice": 1}}, r"Beast\.home: expected field names or operators"),
    ({"home": {"tags": {"$elemMatch": {"a": Q.a == 1}}}}, r"Beast\.home\.tags\.\$elemMatch: a:"),
    ({"": True}, r"Beast: expected a field path .*got ''"),
    ({"home..name": True}, r"Beast: expected a field path"),
    ({5: True}, r"Beast: expected a field path .*got 5"),
    ({"home": {5: True}}, r"Beast: expected a field path .*got 5"),
    ({"friend": {"$ref": Beast, 5: True}}, r"Beast\.friend: Beast: expected a field path"),
    ({"home": True, "home.name": True}, r"Beast: expected each path once, got 'home' and 'home.n"),
    ({"home": {"$sub": Den}, "home.name": True}, r"Beast: expected each path once"),
    (
        {"home": {"owner": {"$ref": Beast}}, "home.owner": {"$ref": Beast}},
        r"expected each path once",
    ),
    ({"home": False, "home.owner": {"$ref": Beast}}, r"Beast: expected each path once"),
    ({"$ref": Beast, "name": True}, r"Beast\.\$ref: expected a field path, got '\$ref'; write"),
    ({"$slice": 1}, r"Beast\.\$slice: expected a field path"),
    (iter(["name"]), r"Beast: expected a projection as a dict or a list of names"),
    ("name", r"Beast: expected a projection as a dict or a list of names, got 'name'"),
    (["name", 5], r"Beast: expected a projection as a dict or a list of names"),
    (7, r"Beast: expected a projection"),
    (False, r"Beast: expected a projection"),
    ("", r"Beast: expected a projection"),
    (Q.name == 1, r"Beast: expected a projection"),
]


@pytest.mark.parametrize(("projection", "message"), REFUSED)
async def test_bad_projection(
    call: Runtime, commands: Commands, projection: Any, message: str
) -> None:
    """A projection that cannot be understood is refused with its path before anything is sent."""
    for read in (call(Beast).one, call(Beast).many):
        with pytest.raises(ProjectionError, match=message):
            await read(projection=projection)
    with pytest.raises(ProjectionError, match=message):
        async for _ in call(Beast).each(projection=projection):
            pass

    assert [] == commands.sent


def test_projection_that_contains_itself(db: str) -> None:
    """An endless projection is an error of its own, not of Python's stack."""
    endless: dict[str, Any] = {"$ref": Beast}
    endless["friend"] = endless

    with pytest.raises(ProjectionError, match="contains itself"):
        Beast.one(projection={"friend": endless})


# The caller's dict, the cache


async def test_caller_dict_is_never_changed(call: Runtime) -> None:
    """A projection is used as often as its owner likes."""
    await store(
        Beast, {"_id": 1, "friend": 1, "home": {"name": "a"}, "places": {"a": {"owner": 1}}}
    )
    projection = {
        "friend": {"$ref": Beast, "$ref_key": "_id", "home": {"$sub": Den}},
        "home": {"$sub": Den, "name": True},
        "places": {"$sub.": Den, "owner": {"$ref": Beast}},
        "tags": {"$slice": [0, 2]},
    }
    shown = repr(projection)
    first = await call(Beast).one(projection=projection)
    second = await call(Beast).one(projection=projection)

    assert shown == repr(projection)
    assert plain(first) == plain(second)


def test_plans_are_shared(db: str) -> None:
    """Projections that mean the same share a plan; 1 and True mean the same only for fields."""
    from loom.frames.projections import plan_for

    one = plan_for(Beast, {"name": True, "friend": {"$ref": Beast, "name": 1, "code": True}})
    assert one is plan_for(Beast, {"friend": {"code": 1.0, "$ref": Beast, "name": True}, "name": 1})
    assert plan_for(Beast, ["name", "code"]) is plan_for(Beast, {"code": True, "name": True})
    assert plan_for(Beast, None) is plan_for(Beast, {})
    sliced = [plan_for(Beast, {"tags": {"$slice": size}}) for size in (1, 1.0, True)]
    assert [int, float, bool] == [type(plan.driver["tags"]["$slice"]) for plan in sliced]
    ordered = [{"$elemMatch": {"a": {"x": 1, "y": 2}}}, {"$elemMatch": {"a": {"y": 2, "x": 1}}}]
    kept = [list(plan_for(Beast, {"homes": p}).driver["homes"]["$elemMatch"]["a"]) for p in ordered]
    assert [["x", "y"], ["y", "x"]] == kept


async def test_unhashable_value(call: Runtime) -> None:
    """A value that cannot be a key of the cache works all the same."""
    await store(Beast, {"_id": 1, "homes": [{"name": "ab"}, {"name": "ba"}]})
    matching = {"homes": {"$elemMatch": {"name": {"$in": ["ba", Regex("^zz")]}}}}
    for _ in range(2):
        assert [{"name": "ba"}] == (await call(Beast).one(projection=matching)).homes


async def test_later_change_of_a_projection_is_seen(call: Runtime, commands: Commands) -> None:
    """The cache goes by content, so that a dict can be changed between calls."""
    projection: dict[str, Any] = {"home": {"$sub": Den, "name": True}, "code": True}
    await call(Beast).one(projection=projection)
    projection["home"]["gold"] = True
    await call(Beast).one(projection=projection)

    assert {"code": True, "home.name": True, "home.gold": True} == sent(commands)


async def test_default_projection(call: Runtime, commands: Commands) -> None:
    """The class's projection holds for calls that give none, also when assigned or changed later."""

    class Sheep(Frame):
        _fields = {"name", "wool"}
        _default_projection = {"name": True}

    await call(Sheep).one()
    assert {"name": True} == sent(commands)
    Sheep._default_projection["wool"] = True
    await call(Sheep).one()
    assert {"name": True, "wool": True} == sent(commands)
    Sheep._default_projection = {"wool": False}
    await call(Sheep).many()
    assert {"wool": False} == sent(commands)
    await call(Sheep).by_id(1, projection={})
    assert {"_id": True, "name": True, "wool": True} == sent(commands)
    await call(Sheep).one(projection={"wool": True})
    assert {"wool": True} == sent(commands)


async def test_default_projection_is_not_used_for_references(call: Runtime) -> None:
    """A reference fetches what it names; without names all fields."""

    class Goat(Frame):
        _fields = {"name", "horns", "kid"}
        _default_projection = {"name": True}

    await store(Goat, {"_id": 1, "name": "a", "horns": 2, "kid": 1})
    found = await call(Goat).one(projection={"kid": {"$ref": Goat}})

    assert 2 == found.kid.horns


async def test_fields_assigned_later(call: Runtime, commands: Commands) -> None:
    """Fields assigned after a load are fetched from then on, also by references to the class."""

    class Hen(Frame):
        _fields = {"name"}

    class Coop(Frame):
        _fields = {"hen"}

    await store(Hen, {"_id": 1, "name": "a", "eggs": 3})
    await store(Coop, {"_id": 1, "hen": 1})
    with_hen = {"hen": {"$ref": Hen}}
    assert "eggs" not in (await call(Coop).one(projection=with_hen)).hen
    Hen._fields = {"name", "eggs"}
    assert 3 == (await call(Hen).one()).eggs
    assert 3 == (await call(Coop).one(projection=with_hen)).hen.eggs


def test_classes_defined_later_complete_annotations(db: str) -> None:
    """An annotation that names a later class maps as soon as that class is there, at any depth."""

    class Barn(SubFrame):
        door: LaterDoor

    class Farm(Frame):
        barn: Barn
        partner: Any

    Farm.get_collection().insert_one({"_id": 1, "barn": {"door": {"lock": 1}}, "partner": 1})
    projections: list[Any] = [None, {"barn": {"door": True}}, {"barn": {"$sub": Barn}}]
    for projection in projections:
        assert {"lock": 1} == Farm.one(projection=projection).barn.door
    with_partner = {"partner": {"$ref": Farm, "barn": {"door": {"lock": True}}}}
    assert {"lock": 1} == Farm.one(projection=with_partner).partner.barn.door

    class LaterDoor(SubFrame):
        lock: int

    for projection in projections:
        assert 1 == Farm.one(projection=projection).barn.door.lock
    assert 1 == Farm.one(projection=with_partner).partner.barn.door.lock


# Sub-frames


FULL = {
    "_id": 1,
    "name": "w",
    "home": {
        "name": "h",
        "gold": 1,
        "best": {"cut": "a", "inner": {"cut": "b", "inner": {"cut": "c"}}},
        "gems": [{"cut": "d"}],
        "drawers": {"top": {"cut": "e"}},
    },
    "homes": [{"name": "1", "gems": []}, {"name": "2", "best": {"cut": "f"}}],
    "places": {"a": {"name": "pa", "best": {"cut": "g"}}, "b": {"name": "pb"}},
    "maybe": {"name": "m"},
    "noted": {"name": "n"},
}


@pytest.mark.parametrize(
    "projection",
    [
        None,
        {},
        {"tags": False},
        {"_id": False},
        {"home": True, "homes": True, "places": True, "maybe": True, "noted": True},
        {"home.gold": False},
        {"home": {"gold": False}},
        {"home": {"best": True, "gems": True, "drawers": True, "name": True}, "homes": True}
        | {"places": True, "maybe": True, "noted": True},
        {"friend": {"$ref": Beast}},
        {"home.owner": {"$ref": Beast}},
        {"places": {"a": {"owner": {"$ref": Beast}}}},
        {"tags": {"$slice": 1}},
        {"home.tags": {"$slice": 1}},
    ],
)
async def test_annotated_sub_frames_are_mapped(call: Runtime, projection: Any) -> None:
    """Whatever fetches an annotated sub-frame, maps it, and those inside it."""
    await store(Wyrm, FULL)
    wyrm = await call(Wyrm).one(projection=projection)

    assert "h" == wyrm.home.name
    assert ("a", "b", "c") == (
        wyrm.home.best.cut,
        wyrm.home.best.inner.cut,
        wyrm.home.best.inner.inner.cut,
    )
    assert ("d", "e") == (wyrm.home.gems[0].cut, wyrm.home.drawers["top"].cut)
    assert ["1", "2"] == [home.name for home in wyrm.homes]
    assert "f" == wyrm.homes[1].best.cut
    assert ("pa", "g", "pb") == (
        wyrm.places["a"].name,
        wyrm.places["a"].best.cut,
        wyrm.places["b"].name,
    )
    assert ("m", "n") == (wyrm.maybe.name, wyrm.noted.name)


async def test_named_members_of_an_annotated_map(call: Runtime) -> None:
    """A projection may speak of single members of a map, which is still mapped."""
    await store(Wyrm, {**FULL, "places": {"a": {"owner": 7, "best": {"cut": "x"}}, "b": {}}})
    await store(Beast, {"_id": 7, "name": "o"})
    for projection in (
        {"places": {"a": {"owner": {"$ref": Beast}}}},
        {"places.a.owner": {"$ref": Beast}},
    ):
        wyrm = await call(Wyrm).one(projection=projection)
        assert ("o", "x") == (wyrm.places["a"].owner.name, wyrm.places["a"].best.cut)
        assert isinstance(wyrm.places["b"], Cave)
    only = await call(Wyrm).one(projection={"places": {"a": {"best": {"cut": True}}}})
    assert {"a": {"best": {"cut": "x"}}} == plain(only.places)
    assert "x" == only.places["a"].best.cut


async def test_data_that_does_not_fit_its_annotation(call: Runtime) -> None:
    """Values of another shape than annotated stay as they are."""
    odd = {
        "_id": 1,
        "home": 5,
        "homes": [1, None, {"name": "x"}, [{"name": "y"}]],
        "places": {"a": 1, "b": None, "c": {"name": "z"}, "d": [{"name": "l"}, 2]},
        "maybe": None,
        "noted": [{"name": "n"}],
    }
    await store(Wyrm, odd)
    wyrm = await call(Wyrm).one()

    assert odd == plain(wyrm)
    assert "x" == wyrm.homes[2].name
    assert ("z", "l") == (wyrm.places["c"].name, wyrm.places["d"][0].name)
    assert "n" == wyrm.noted[0].name


async def test_sub_frames_by_projection(call: Runtime) -> None:
    """`$sub` wraps a document or a list, `$sub.` the values of a map; other members are kept."""
    await store(
        Beast,
        {
            "_id": 1,
            "home": {"name": "h", "best": {"cut": "a"}},
            "homes": [{"name": "1"}, 5, None, {"name": "2"}],
            "places": {"a": {"name": "pa"}, "b": [{"name": "l1"}, 7], "c": None},
        },
    )
    found = await call(Beast).one(
        projection={
            "home": {"$sub": Den, "best": {"$sub": Gem}},
            "homes": {"$sub": Den},
            "places": {"$sub.": Den},
        }
    )

    assert ("h", "a") == (found.home.name, found.home.best.cut)
    assert ["1", 5, None, "2"] == [getattr(home, "name", home) for home in found.homes]
    assert ("pa", "l1", 7, None) == (
        found.places["a"].name,
        found.places["b"][0].name,
        found.places["b"][1],
        found.places["c"],
    )


async def test_list_under_a_map(call: Runtime) -> None:
    """`$sub.` takes a list of embedded documents, too, as MongoFrames does."""
    await store(Beast, {"_id": 1, "places": [{"name": "a", "owner": 1}]})
    found = await call(Beast).one(projection={"places": {"$sub.": Den, "owner": {"$ref": Beast}}})

    assert ("a", 1) == (found.places[0].name, found.places[0].owner._id)


@pytest.mark.parametrize(
    ("projection", "message"),
    [
        ({"name": {"$sub": Den}}, r"Beast\.name: expected a dict or a list, got str \('x'\)"),
        ({"home": {"$sub": Den, "gold": {"$sub": Den}}}, r"Beast\.home\.gold: expected .*got int"),
        ({"home": {"$sub.": Den}}, r"Beast\.home\.gold: expected a dict, got int .*use '\$sub'"),
        ({"name": {"$sub.": Den}}, r"Beast\.name: expected a dict or a list"),
    ],
)
async def test_sub_on_a_scalar(call: Runtime, projection: Any, message: str) -> None:
    """An explicit `$sub` on a scalar raises with its path."""
    await store(Beast, {"_id": 1, "name": "x", "home": {"gold": 5}})
    with pytest.raises(ProjectionError, match=message):
        await call(Beast).one(projection=projection)


async def test_explicit_sub_wins_over_the_annotation(call: Runtime) -> None:
    """A projection's own class takes the place of the annotated one."""
    await store(Dragon, {"_id": 1, "lair": {"name": "x", "inventory": {"gold": 1}}})
    burt = await call(Dragon).one(projection={"lair": {"$sub": Den}})
    fred = await call(Dragon).one(projection={"lair": {"inventory": {"gold": True}}})

    assert (Den, dict) == (type(burt.lair), type(burt.lair._document["inventory"]))
    assert (Lair, Inventory) == (type(fred.lair), type(fred.lair.inventory))


async def test_reference_to_an_annotated_class(call: Runtime) -> None:
    """Frames that references bring are mapped by their own annotations."""
    await store(Item, {"_id": 1, "previous_owner": 2})
    await store(Dragon, {"_id": 2, "lair": {"inventory": {"gold": 3}}})
    item = await call(Item).one(projection={"previous_owner": {"$ref": Dragon}})

    assert 3 == item.previous_owner.lair.inventory.gold
