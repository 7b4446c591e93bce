"""Reverse references: what refers to a frame, put into it by the projection."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from bson import Decimal128
from hypothesis import given, settings
from hypothesis import strategies as st

import loom
from loom import FieldError, Frame, ProjectionError, QueryError, SubFrame

from .conftest import Commands, Runtime, Server


class Desk(SubFrame):
    """Where somebody sits, and in which company."""

    floor: int
    company: Any


class Company(Frame):
    """What others refer to; one of its reverse references has a field of its own."""

    name: str
    code: str
    boss: Any
    friends: list[Any]


class Person(Frame):
    """Refers to companies in every way."""

    name: str
    age: int
    company: Any
    clubs: list[Any]
    desk: Desk
    desks: list[Desk]
    company_code: str


class Task(Frame):
    """Refers to people."""

    title: str
    person: Any
    hours: int


STAFF = {"$from": Person, "$on": "company"}


async def people(call: Runtime) -> list[Company]:
    """Store two companies with staff, and one without."""
    acme, umbra, none = await call(Company).insert_many(
        [{"name": "Acme", "code": "A"}, {"name": "Umbra", "code": "U"}, {"name": "None"}]
    )
    await call(Person).insert_many(
        [
            {"name": "Ann", "age": 3, "company": acme, "company_code": "A", "clubs": [umbra, acme]},
            {"name": "Bob", "age": 1, "company": umbra, "company_code": "U", "clubs": [acme, acme]},
            {"name": "Cid", "age": 2, "company": acme, "clubs": []},
            {"name": "Dan", "age": 4, "desk": Desk(floor=1, company=acme)},
            {"name": "Eve", "age": 5, "desks": [Desk(floor=1, company=umbra), Desk(company=acme)]},
        ]
    )
    return [acme, umbra, none]


def names(frames: Any) -> list[str]:
    """Return the names of frames."""
    return [frame.name for frame in frames]


async def found(call: Runtime, **staff: Any) -> dict[str, list[str]]:
    """Return who is put into each company."""
    companies = await call(Company).many(projection={"name": True, "staff": staff}, sort="name")
    return {company.name: names(company["staff"]) for company in companies}


async def test_what_refers_here(call: Runtime, commands: Commands) -> None:
    """Every frame gets a list of what refers to it, by one query, in the order of the `_id`s."""
    await people(call)
    commands.clear()
    assert {"Acme": ["Ann", "Cid"], "None": [], "Umbra": ["Bob"]} == await found(
        call, **{"$from": Person, "$on": "company", "name": True}
    )
    assert ["find", "find"] == commands.names
    query = commands.bodies[1]
    assert ["company"] == [*query["filter"]]
    assert {"company": True, "name": True} == query["projection"]


async def test_ways_to_refer(call: Runtime) -> None:
    """References in lists, in sub-frames and in lists of them are found, each frame once."""
    await people(call)
    expected = {
        "clubs": {"Acme": ["Ann", "Bob"], "None": [], "Umbra": ["Ann"]},
        "desk.company": {"Acme": ["Dan"], "None": [], "Umbra": []},
        "desks.company": {"Acme": ["Eve"], "None": [], "Umbra": ["Eve"]},
    }
    for on, staff in expected.items():
        assert staff == await found(call, **{"$from": Person, "$on": on})
        assert staff == await found(call, **{"$from": Person, "$on": on, "$limit": 9})


async def test_by_another_key(call: Runtime, commands: Commands) -> None:
    """`$ref_key` names the field that is referred by; without it nothing refers."""
    await people(call)
    commands.clear()
    assert {"Acme": ["Ann"], "None": [], "Umbra": ["Bob"]} == await found(
        call, **{"$from": Person, "$on": "company_code", "$ref_key": "code"}
    )
    assert {"name": True, "code": True} == commands.bodies[0]["projection"]
    assert ["A", "U"] == sorted(commands.bodies[1]["filter"]["company_code"]["$in"])


@pytest.mark.parametrize("sort", ["-age", [("age", -1)], {"age": -1}])
async def test_order_and_limit(call: Runtime, commands: Commands, sort: Any) -> None:
    """`$sort` orders each list, `$limit` ends it; the first ones of each come, in one command."""
    await people(call)
    both = {"$from": Person, "$on": "clubs", "$sort": sort}
    assert ["Ann", "Bob"] == (await found(call, **both))["Acme"]
    assert ["Bob", "Ann"] == (await found(call, **{**both, "$sort": "age"}))["Acme"]
    commands.clear()
    assert {"Acme": ["Ann"], "None": [], "Umbra": ["Ann"]} == await found(
        call, **both, **{"$limit": 1}, name=True
    )
    assert ["find", "aggregate"] == commands.names


async def test_a_limit_fetches_the_same(call: Runtime) -> None:
    """What an aggregation brings is what a query brings, whatever the projection."""
    await people(call)
    for fields in ({}, {"age": True}, {"age": False}, {"name": True, "_id": False}):
        plain, limited = [
            await call(Company).many(projection={"staff": {**STAFF, **fields, **more}})
            for more in ({}, {"$limit": 5})
        ]
        assert plain == limited
        assert [*plain[0]["staff"][0]._document] == [*limited[0]["staff"][0]._document]


async def test_at_any_depth(call: Runtime, commands: Commands) -> None:
    """Reverse and other references stand in each other, each level with one query."""
    acme, umbra, _ = await people(call)
    ann, bob = await call(Person).many({}, sort="name", limit=2)
    acme.boss = bob
    await call(acme).update("boss")
    await call(Task).insert_many(
        [
            {"title": "a", "person": ann},
            {"title": "b", "person": bob},
            {"title": "c", "person": ann},
        ]
    )
    commands.clear()
    tasks = {"$from": Task, "$on": "person", "$sort": "-title"}
    companies = await call(Company).many(
        projection={
            "boss": {"$ref": Person, "tasks": tasks, "company": {"$ref": Company}},
            "staff": {**STAFF, "tasks": tasks, "company": {"$ref": Company, "name": True}},
        },
        sort="name",
    )
    assert ["b"] == [task.title for task in companies[0].boss["tasks"]]
    assert "Umbra" == companies[0].boss.company.name
    ann, cid = companies[0]["staff"]
    assert (["c", "a"], []) == ([task.title for task in ann["tasks"]], cid["tasks"])
    assert "Acme" == ann.company.name
    assert 7 == len(commands.names)
    assert umbra == companies[2]


async def test_across_streams_and_reloads(call: Runtime) -> None:
    """They come with `each`, `by_id` and `reload`, too."""
    acme, *_ = await people(call)
    projection = {"staff": STAFF}
    async for company in call(Company).each({}, projection=projection, sort="name"):
        assert {"Acme": 2, "None": 0, "Umbra": 1}[company.name] == len(company["staff"])
    acme = await call(Company).by_id(acme._id, projection=projection)
    await call(Person(name="Fay", company=acme)).insert()
    await call(acme).reload(projection=projection)
    assert ["Ann", "Cid", "Fay"] == names(acme["staff"])


WAYS: dict[str, Any] = {
    "itself": lambda frame: frame,
    "copied": copy.copy,
    "deep copied": copy.deepcopy,
    "pickled": lambda frame: pickle.loads(pickle.dumps(frame)),
}


@pytest.mark.parametrize("way", WAYS)
async def test_it_is_never_written(call: Runtime, commands: Commands, way: str) -> None:
    """Whatever writes a frame leaves out what `$from` put there, also when it was edited."""
    acme, *_ = await people(call)
    loaded = await call(Company).by_id(acme._id, projection={"staff": STAFF})
    frame = WAYS[way](loaded)
    assert loaded == frame
    frame["staff"].append(frame["staff"][0])
    commands.clear()
    await call(frame).save()
    assert [] == commands.names
    frame.name = "Acme & Co"
    await call(frame).save()
    await call(frame).update()
    await call(frame).upsert()
    await call(Company).update_many([frame])
    await call(Company).insert_many([copied(frame), copied(frame)])
    await call(copied(frame)).insert()
    for document in Company.get_collection().find({}):
        assert "staff" not in document
    assert 6 == await call(Company).count({})

    with pytest.raises(FieldError, match=r"^Company\.update: expected a declared field, got 'st"):
        await call(frame).update("staff")


def copied(frame: Company) -> Company:
    """Return a new frame with the same content."""
    return Company({k: v for k, v in frame._document.items() if k != "_id"})


async def test_under_another_name_it_is_written(call: Runtime) -> None:
    """Assigned to a field, what was found is a list of references like any other."""
    acme, *_ = await people(call)
    frame = await call(Company).by_id(acme._id, projection={"name": True, "staff": STAFF})
    frame.friends = frame["staff"]
    await call(frame).save()
    stored = Company.get_collection().find_one({"_id": acme._id})
    assert stored is not None
    assert [person._id for person in frame["staff"]] == stored["friends"]


class Club(Frame):
    """A class that gives the reverse reference an attribute."""

    name: str
    members: list[Person]


async def test_a_declared_name_is_an_attribute(call: Runtime, commands: Commands) -> None:
    """The field is not fetched, reads as the list, and is not written, with listeners neither."""
    club = await call(Club(name="Chess")).insert() or await call(Club).one()
    await call(Person(name="Ann", clubs=[club])).insert()
    commands.clear()
    club = await call(Club).one(projection={"members": {"$from": Person, "$on": "clubs"}})
    assert {"_id": True, "name": True} == commands.bodies[0]["projection"]
    assert ["Ann"] == names(club.members)
    assert [{"name": "Ann", "clubs": [str(club._id)], "_id": str(club.members[0]._id)}] == (
        club.to_json_type()["members"]
    )

    def rename(sender: Any, frames: list[Club]) -> None:
        for frame in frames:
            frame.name += "!"
            frame.members.clear()

    Club.listen("update", rename)
    await call(club).update("name")
    with pytest.raises(QueryError, match="expected fields that are stored, got 'members', which"):
        await call(club).update("members")
    assert {"_id", "name"} == {*(Club.get_collection().find_one() or {})}


@pytest.mark.parametrize(
    ("projection", "message"),
    [
        ({"staff": {"$from": Desk, "$on": "company"}}, r"expected a Frame class after \$from, got"),
        ({"staff": {"$from": Person}}, r"expected \$on to be the path in Person that refers to"),
        ({"staff": {"$from": Person, "$on": 3}}, r"expected \$on to be the path .*, got 3"),
        ({"staff": {"$from": Person, "$on": "a..b"}}, r"expected \$on to be the path"),
        ({"staff": {"$from": Person, "$on": "compani"}}, r"field of Person, got 'compani'; did"),
        ({"staff": {**STAFF, "$limit": 0}}, r"expected \$limit to be a number from 1 on, got 0"),
        ({"staff": {**STAFF, "$limit": True}}, r"expected \$limit to be a number from 1 on"),
        ({"staff": {**STAFF, "$sort": ("age", 7)}}, r"staff\.\$sort: "),
        ({"staff": {**STAFF, "$missing": "none"}}, r"expected one of \$from, .* got '\$missing'"),
        ({"staff": {**STAFF, "$ref_key": "a.b"}}, r"expected the name of a field after \$ref_key"),
        ({"a.staff": STAFF}, r"expected \$from under a plain name of a Frame, got it under"),
        ({"desk": {"$sub": Desk, "staff": STAFF}}, r"expected \$from under a plain name"),
        ({"_id": STAFF}, r"expected \$from under a plain name"),
        ({"staff": STAFF, "_id": False}, r"_id: expected '_id' to be fetched whole"),
        ({"staff": STAFF, "staff.name": True}, r"expected 'staff' once, got it with \$from and as"),
        ({"staff": {"$on": "company"}}, r"expected \$from beside \$on, got none"),
        ({"staff": {**STAFF, "company": False}}, r"expected 'company' to be fetched whole"),
        ({"staff": {**STAFF, "$limit": 2, "clubs": {"$slice": 1}}}, r"beside \$limit, got an oper"),
    ],
)
async def test_bad_projections(
    call: Runtime, commands: Commands, projection: Any, message: str
) -> None:
    """Each is refused before anything is sent; the error names the place and the way out."""
    with pytest.raises(ProjectionError, match=rf"^Company\.?.*: .*{message}|{message}"):
        await call(Company).many(projection=projection)
    assert [] == commands.names


async def test_many_parents(call: Runtime, server: Server, commands: Commands) -> None:
    """Ids go in chunks; what refers to frames of two chunks stands in both."""
    companies = await call(Company).insert_many([{"name": f"{n:03}"} for n in range(60)])
    await call(Person).insert_many(
        [{"name": c.name, "clubs": [c, companies[0]]} for c in companies]
    )
    commands.clear()
    found = await call(Company).many(
        projection={"staff": {"$from": Person, "$on": "clubs"}}, sort="name"
    )
    assert 60 == len(found[0]["staff"])
    assert all(names(c["staff"]) == [c.name] for c in found[1:])
    assert (4 if server.is_embedded else 2) == len(commands.names)


ids = st.one_of(st.integers(0, 4), st.just(2.0), st.sampled_from("ab"))


@settings(deadline=None, max_examples=25)
@given(
    parents=st.lists(ids, max_size=5, unique_by=lambda id: id),
    children=st.lists(st.one_of(ids, st.none(), st.lists(ids, max_size=3)), max_size=8),
    limit=st.one_of(st.none(), st.integers(1, 3)),
)
def test_against_a_model(
    server: Server, parents: list[Any], children: list[Any], limit: int | None
) -> None:
    """Each frame gets exactly what refers to it, in its order, whatever the ids are."""
    name = "loom_test_reverse"
    loom.connect(server.client, db=name)
    server.client.drop_database(name)
    for id in parents:
        Company({"_id": id}).insert()
    for n, company in enumerate(children):
        Person({"_id": n, "company": company}).insert()
    more = {} if limit is None else {"$limit": limit}
    found = Company.many(projection={"name": True, "staff": {**STAFF, **more}})
    assert {company._id: [person._id for person in company["staff"]] for company in found} == {
        id: [
            n
            for n, held in enumerate(children)
            if held is not None and id in (held if isinstance(held, list) else [held])
        ][:limit]
        for id in parents
    }
    server.client.drop_database(name)


async def test_numbers_of_all_types_refer_by_their_values(call: Runtime) -> None:
    """What the server finds equal is put in place: ints, floats and decimals of one value."""
    prices = [7, Decimal128("2.50"), Decimal128("NaN"), Decimal128("8")]
    await call(Company).insert_many([{"_id": n, "code": price} for n, price in enumerate(prices)])
    held = [7.0, Decimal128("7.0"), 2.5, Decimal128("2.5"), float("nan"), 8, True, 3]
    await call(Person).insert_many([{"_id": n, "company_code": h} for n, h in enumerate(held)])
    staff = {"$from": Person, "$on": "company_code", "$ref_key": "code"}
    for more in ({}, {"$limit": 9}):
        found = await call(Company).many(projection={"staff": {**staff, **more}}, sort="_id")
        placed = [[person._id for person in company["staff"]] for company in found]
        assert [[0, 1], [2, 3], [5]] == [placed[0], placed[1], placed[3]]
        assert 4 in placed[2]
    people = await call(Person).many(
        projection={"company_code": {"$ref": Company, "$ref_key": "code"}}, sort="_id"
    )
    assert [0, 0, 1, 1, 2, 3] == [person.company_code._id for person in people[:6]]
    assert not people[6].company_code
    assert not people[7].company_code
