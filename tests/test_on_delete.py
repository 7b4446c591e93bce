"""What `Ref(on_delete=...)` declares: what goes, what stays, what is told, and what failures leave."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Annotated, Any

import pytest
from bson import ObjectId
from pymongo.errors import OperationFailure

import loom
from loom import (
    DefinitionError,
    Frame,
    Ref,
    Restricted,
    StrLower,
    SubFrame,
    TimeUpdated,
    default,
    muted,
)
from loom.frames import events
from loom.frames.integrity import keep_references_whole

from .conftest import Commands, Runtime, Server

# One company, and all that hangs on it. Collections of their own: other tests delete, too.


class Company(Frame):
    """The root."""

    _collection = "kept.company"
    name: str


class User(Frame):
    """Goes with its company."""

    _collection = "kept.user"
    name: str
    company: Annotated[Company | None, Ref(on_delete="cascade")]
    boss: Annotated[User | None, Ref(on_delete="nullify")]


class Desk(SubFrame):
    """Forgets its user."""

    user: Annotated[User | None, Ref(on_delete="nullify")]
    number: int


class Team(Frame):
    """Loses members."""

    _collection = "kept.team"
    name: str
    members: Annotated[list[User], Ref(on_delete="pull")]
    roles: Annotated[dict[str, User], Ref(on_delete="pull")]
    desks: list[Desk]


class Note(Frame):
    """Goes with its author, at the second level."""

    _collection = "kept.note"
    name: str
    author: Annotated[User, Ref(on_delete="cascade")]


class Bill(Frame):
    """Forbids that its payer goes."""

    _collection = "kept.bill"
    name: str
    payer: Annotated[User, Ref(on_delete="restrict")]


def stored(cls: Any) -> list[dict[str, Any]]:
    """Return the documents of a class."""
    return list(cls.get_collection().find(sort=[("_id", 1)]))


def names(cls: Any) -> list[str]:
    """Return the names in a collection, sorted."""
    return sorted(d["name"] for d in stored(cls))


@pytest.fixture
def heard() -> list[Any]:
    """What listeners of all classes here are told: `(event, class, names)`."""
    found: list[Any] = []

    def note(sender: Any, frames: Any, event: str) -> None:
        found.append((event, sender.__name__, [frame.get("name") for frame in frames]))

    for cls in (Company, User, Team, Note, Bill):
        for event in ("update", "updated", "delete", "deleted"):
            cls.listen(event, lambda sender, frames, event=event: note(sender, frames, event))
    return found


async def world(call: Runtime) -> tuple[Company, User, User, User]:
    """Store a company with two users, and another with one."""
    c, d = await call(Company).insert_many([{"name": "c"}, {"name": "d"}])
    a, b, o = await call(User).insert_many(
        [{"name": "a", "company": c}, {"name": "b", "company": c}, {"name": "o", "company": d}]
    )
    a.boss, o.boss = o, a
    await call(User).update_many([a, o], "boss")
    return c, a, b, o


# What goes, and what is released


async def test_a_tree_goes_leaves_first(call: Runtime, heard: list[Any]) -> None:
    """What refers goes before what it refers to, at any depth; the root is deleted last."""
    c, a, _b, o = await world(call)
    await call(Note).insert_many([{"name": "n", "author": a}, {"name": "m", "author": o}])
    heard.clear()
    await call(c).delete()
    deleted = [(cls, told) for event, cls, told in heard if event == "deleted"]

    assert (["d"], ["o"], ["m"]) == (names(Company), names(User), names(Note))
    assert [("Note", ["n"]), ("User", ["a", "b"]), ("Company", ["c"])] == deleted


async def test_what_stays_forgets(call: Runtime) -> None:
    """Single references become null; lists and maps lose theirs; others are left as they are."""
    c, a, b, o = await world(call)
    team = Team(
        name="t",
        members=[a, o, b, a],
        roles={"lead": a, "dotted.key": o, "$odd": b},
        desks=[Desk(user=a, number=1), Desk(user=o, number=2), Desk(number=3)],
    )
    await call(team).insert()
    await call(c).delete()
    (found,) = stored(Team)

    assert {
        "_id": team._id,
        "name": "t",
        "members": [o._id],
        "roles": {"dotted.key": o._id},
        "desks": [{"user": None, "number": 1}, {"user": o._id, "number": 2}, {"number": 3}],
    } == found
    assert [None] == [user["boss"] for user in stored(User)]


async def test_restrict_forbids_before_anything_happens(
    call: Runtime, heard: list[Any], commands: Commands
) -> None:
    """A restricted leaf forbids the whole, says how many refer, and nothing was sent."""
    c, a, _b, _o = await world(call)
    await call(Team(name="t", members=[a])).insert()
    await call(Bill).insert_many([{"name": n, "payer": a} for n in "xy"])
    commands.clear()
    heard.clear()
    with pytest.raises(Restricted, match=r"Company\.delete: .* 2 by Bill\.payer; delete") as caught:
        await call(c).delete()

    assert {"Bill.payer": 2} == caught.value.counts
    assert {"find", "aggregate"} == {*commands.names}
    assert [("delete", "Company", ["c"])] == heard
    await call(Bill).delete_many([{"_id": bill["_id"]} for bill in stored(Bill)])
    await call(c).delete()
    assert ["d"] == names(Company)


async def test_restrict_lets_go_what_goes_too(call: Runtime) -> None:
    """A referrer that the same delete takes with it forbids nothing, as in SQL at a commit."""

    class Firm(Frame):
        name: str

    class Branch(Frame):
        firm: Annotated[Firm, Ref("cascade")]
        main: Annotated[Branch | None, Ref("restrict")]

    firm = Firm(name="f")
    await call(firm).insert()
    main = Branch(firm=firm)
    await call(main).insert()
    await call(Branch).insert_many([{"firm": firm, "main": main} for _ in range(3)])
    other = Branch(main=main)
    await call(other).insert()
    with pytest.raises(Restricted) as caught:
        await call(firm).delete()
    assert {"Branch.main": 1} == caught.value.counts
    with pytest.raises(Restricted) as caught:
        await call(main).delete()
    assert {"Branch.main": 4} == caught.value.counts
    await call(other).delete()
    await call(firm).delete()

    assert [] == stored(Branch) + stored(Firm)


async def test_delete_many_of_what_refers_to_each_other(call: Runtime) -> None:
    """All documents of one call go together: they do not restrict each other."""

    class Person(Frame):
        parent: Annotated[Person | None, Ref("restrict")]

    parent = Person()
    await call(parent).insert()
    children = await call(Person).insert_many([{"parent": parent} for _ in range(2)])
    with pytest.raises(Restricted):
        await call(Person).delete_many([parent, children[0]])
    assert 3 == len(stored(Person))
    await call(Person).delete_many([parent, *children])
    assert [] == stored(Person)


async def test_defaults(call: Runtime) -> None:
    """The declared default takes the place of the reference, made anew for each document."""
    made: list[ObjectId] = []

    def new() -> Any:
        made.append(ObjectId())
        return made[-1]

    class Owner(Frame):
        pass

    class Nest(SubFrame):
        owner: Annotated[Owner | None, Ref("default")] = None

    class Dog(Frame):
        owner: Annotated[Owner, Ref("default")] = default(new)
        past: Annotated[list[Owner], Ref("default")] = default(list)
        nests: list[Nest]

    x, y = await call(Owner).insert_many([{}, {}])
    await call(Dog).insert_many([{"owner": x, "past": [x, y]}, {"owner": x, "past": [y]}])
    await call(Dog).insert_many([{"owner": y, "past": [], "nests": [Nest(owner=x), Nest(owner=y)]}])
    await call(x).delete()
    first, second, third = stored(Dog)

    assert first["owner"] != second["owner"]
    assert {first["owner"], second["owner"]} <= {*made}
    assert ([], [y._id]) == (first["past"], second["past"])
    assert (y._id, [{"owner": None}, {"owner": y._id}]) == (third["owner"], third["nests"])
    seen: list[Any] = []
    Dog.listen("updated", lambda frames: seen.extend(frame.owner for frame in frames))
    await call(Dog).update_many([{"_id": d["_id"], "owner": y} for d in (first, second)], "owner")
    seen.clear()
    await call(y).delete()
    owners = [dog["owner"] for dog in stored(Dog)]
    assert 3 == len({*owners}) == len({*owners} & {*made})
    assert {*owners} <= {*seen}


async def test_a_default_that_goes_itself(call: Runtime) -> None:
    """Where the default is what is deleted, there is nothing to put into its place."""
    home = ObjectId()

    class Owner(Frame):
        pass

    class Dog(Frame):
        owner: Annotated[Owner, Ref("default")] = default(lambda: home)

    await call(Owner(_id=home)).insert()
    await call(Dog()).insert()
    with pytest.raises(Restricted) as caught:
        await call(Owner(_id=home)).delete()

    assert {"Dog.owner": 1} == caught.value.counts
    assert 1 == len(stored(Owner))


async def test_a_document_that_is_gone_already(call: Runtime, heard: list[Any]) -> None:
    """Deleting what is not there any more still clears what refers to it."""
    c, _a, _b, _o = await world(call)
    Company.get_collection().delete_one({"_id": c._id})
    await call(c).delete()

    assert (["d"], ["o"]) == (names(Company), names(User))


@pytest.mark.parametrize(
    "id", [ObjectId(b"-0-1-2-3-4-5"), "0123456789abcdef01234567", 7, 1.5, {"a": 1, "b": 2}, b"x"]
)
async def test_ids_of_every_type(call: Runtime, id: Any, heard: list[Any]) -> None:
    """References are followed whatever an id is; text that looks like an ObjectId stays text."""
    await call(Company(_id=id, name="c")).insert()
    await call(User(_id=id, name="a", company=id)).insert()
    await call(Note(name="n", author=id)).insert()
    await call(Team(name="t", members=[id, 5], roles={"r": id})).insert()
    heard.clear()
    await call(Company(_id=id)).delete()

    assert [] == stored(Company) + stored(User) + stored(Note)
    assert ([5], {}) == (stored(Team)[0]["members"], stored(Team)[0]["roles"])
    assert ["Note", "User", "Company"] == [cls for event, cls, _ in heard if event == "deleted"]


async def test_circles_end(call: Runtime, heard: list[Any]) -> None:
    """Documents that refer to each other and to themselves go once, in either direction."""

    class Link(Frame):
        name: str
        next: Annotated[list[Link], Ref("cascade")]

    a, b, c, d = await call(Link).insert_many([{"name": n} for n in "abcd"])
    for frame, others in ((a, [a, b]), (b, [c, a]), (c, [a, c])):
        frame.next = others
    await call(Link).update_many([a, b, c])
    gone: list[str] = []

    async def cascade_again(frames: Any) -> None:
        gone.extend(frame.name for frame in frames)
        await Link.aio.cascade(Link, "next", frames)

    Link.listen("delete", cascade_again)
    await call(b).delete()

    assert ["d"] == names(Link)
    assert ["a", "b", "c"] == sorted(gone)
    assert d.name == "d"


async def test_an_id_that_refers(call: Runtime) -> None:
    """A document that shares the id of another goes with it."""

    class Page(Frame):
        pass

    class Text(Frame):
        _id: Annotated[Page, Ref("cascade")]

    await call(Page).insert_many([{"_id": 1}, {"_id": 2}])
    await call(Text).insert_many([{"_id": 1}, {"_id": 2}])
    await call(Page(_id=1)).delete()

    assert [{"_id": 2}] == stored(Text)


# Classes and collections


class Short(Frame):
    """The same documents as Company, under another name."""

    _collection = "kept.company"
    name: str


class Holding(Company):
    """A child with a collection of its own."""

    _collection = "kept.holding"


class Limited(Company):
    """A child in its parent's collection."""

    _collection = "kept.company"


@pytest.mark.parametrize("cls", [Short, Limited, Holding])
async def test_other_classes_of_the_same_documents(call: Runtime, cls: Any) -> None:
    """A class in the target's collection counts as the target, and so does a child of it."""
    root = cls(name="c")
    await call(root).insert()
    await call(User(name="a", company=root._id)).insert()
    await call(root).delete()

    assert [] == stored(User) + stored(cls)


async def test_a_child_with_a_collection_of_its_own(call: Runtime) -> None:
    """What the parent's own collection has under the same id is what is meant, and stays."""
    await call(Company).insert_many([{"_id": 1, "name": "c"}])
    await call(Holding).insert_many([{"_id": 1, "name": "h"}, {"_id": 2, "name": "i"}])
    await call(User).insert_many([{"name": "a", "company": 1}, {"name": "b", "company": 2}])
    await call(Holding).delete_many([{"_id": 1}, {"_id": 2}])

    assert ["a"] == names(User)
    assert ["c"] == names(Company)


async def test_a_collection_of_the_same_name_elsewhere(
    call: Runtime, server: Server, db: str
) -> None:
    """References mean documents of their own database."""
    c, _a, _b, _o = await world(call)
    try:
        with loom.using(db=f"{db}_other"):
            await call(Company(_id=c._id, name="c")).insert()
            await call(c).delete()
            assert [] == stored(Company)
        assert ["a", "b", "o"] == names(User)
    finally:
        server.client.drop_database(f"{db}_other")


async def test_several_referring_classes_in_one_collection(call: Runtime) -> None:
    """They are one place; the highest class speaks for it, and its listeners hear."""

    class Plant(Frame):
        pass

    class Leaf(Frame):
        _collection = "leaves"
        plant: Annotated[Plant, Ref("cascade")]

    class Needle(Leaf):
        _collection = "leaves"

    plant = Plant()
    await call(plant).insert()
    await call(Needle(plant=plant)).insert()
    told: list[Any] = []
    Leaf.listen("deleted", lambda sender: told.append(sender))
    await call(plant).delete()

    assert [Leaf] == told
    assert [] == stored(Leaf)


async def test_classes_of_one_collection_that_disagree(call: Runtime) -> None:
    """Nobody can tell whose a document is: what is declared must be the same."""

    class Plant(Frame):
        pass

    class Leaf(Frame):
        _collection = "leaves"
        plant: Annotated[Plant, Ref("cascade")]

    class Needle(Leaf):
        _collection = "leaves"
        plant: Annotated[Plant, Ref("restrict")]

    plant = Plant()
    await call(plant).insert()
    with pytest.raises(DefinitionError, match=r"Needle\.plant: expected the on_delete of Leaf"):
        await call(plant).delete()

    assert 1 == len(stored(Plant))


async def test_a_ref_that_is_not_understood_forbids_deletes(
    call: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until its class is imported nothing is deleted; inserts and updates do not mind."""
    from loom.frames import referrers

    c = Company(name="c")
    found = referrers.referrers()
    problem = found._replace(problems=("User.shop: expected an annotation",))
    monkeypatch.setattr("loom.frames.referrers.referrers", lambda: problem)
    monkeypatch.setattr("loom.frames.on_delete.referrers", lambda: problem)
    loom.epoch.advance()
    await call(c).insert()
    await call(c).update("name")
    with pytest.raises(DefinitionError, match=r"^User\.shop"):
        await call(c).delete()

    assert ["c"] == names(Company)


async def test_classes_without_references_are_not_slower(call: Runtime, commands: Commands) -> None:
    """A class that no Ref leads to has no listener, and one command per delete."""

    class Alone(Frame):
        pass

    alone = Alone()
    await call(alone).insert()
    commands.clear()
    await call(alone).delete()

    assert ["delete"] == commands.names
    assert [] == events.listening("delete", Alone)


# The listener


async def test_it_is_an_ordinary_listener(call: Runtime) -> None:
    """It is listed after all others, can be muted by name or event, and stopped."""
    Company.listen("delete", print)
    assert [print, keep_references_whole] == events.listening("delete", Company)
    Company.stop_listening("delete", print)
    for silence in (muted(keep_references_whole), muted("delete"), muted(sender=Company), muted()):
        c, a, b, o = await world(call)
        with silence:
            await call(c).delete()
        assert ["a", "b", "o"] == names(User)
        await call(User).delete_many([a, b, o])
    Company.stop_listening("delete", keep_references_whole)
    c, a, b, o = await world(call)
    await call(c).delete()

    assert ["a", "b", "o"] == names(User)
    assert [] == events.listening("delete", Company)


async def test_muting_one_level(call: Runtime) -> None:
    """Where it is muted for a class, what refers to that class is left alone."""
    c, a, _b, _o = await world(call)
    await call(Note(name="n", author=a)).insert()
    with muted(keep_references_whole, sender=User):
        await call(c).delete()

    assert (["o"], ["n"]) == (names(User), names(Note))


async def test_events_of_what_is_released(call: Runtime, heard: list[Any]) -> None:
    """Changed documents are told of with their path; what goes anyway is not changed before."""
    c, a, b, _o = await world(call)
    b.boss = a
    await call(b).update("boss")
    await call(Team(name="t", members=[a], roles={"r": a}, desks=[Desk(user=a)])).insert()
    paths: list[Any] = []
    Team.listen("update", lambda fields: paths.append(fields))
    heard.clear()
    await call(c).delete()
    updates = [(event, cls, told) for event, cls, told in heard if event.startswith("update")]

    assert [("update", "User", ["o"]), ("updated", "User", ["o"])] == updates[:2]
    assert [("members",), ("roles",), ("desks.user",)] == paths
    assert 8 == len(updates)


class Silent(Frame):
    """Goes and forgets without events."""

    _collection = "kept.silent"
    name: str
    modified: TimeUpdated
    company: Annotated[Company | None, Ref(on_delete="cascade", events=False)]
    former: Annotated[Company | None, Ref(on_delete="nullify", events=False)]


async def test_without_events(call: Runtime, commands: Commands) -> None:
    """`Ref(..., events=False)` calls no listener and loads nothing; what hangs on it still goes."""

    class Shadow(Frame):
        name: str
        of: Annotated[Silent, Ref("cascade")]

    c = Company(name="c")
    await call(c).insert()
    s, _ = await call(Silent).insert_many([{"name": "s", "company": c}, {"name": "t", "former": c}])
    await call(Shadow(name="x", of=s)).insert()
    told: list[Any] = []
    for event in events.EVENTS:
        Silent.listen(event, lambda event=event: told.append(event))
    commands.clear()
    await call(c).delete()

    assert ([], ["t"], []) == (told, names(Silent), names(Shadow))
    assert "former" in stored(Silent)[0]


async def test_cascade_without_events_keeps_references_whole(
    call: Runtime, heard: list[Any]
) -> None:
    """`events=False` is for listeners; what hangs on the deleted documents is cleared all the same."""
    _c, a, _b, o = await world(call)
    await call(Note(name="n", author=a)).insert()
    await call(Team(name="t", members=[a, o])).insert()
    heard.clear()
    await call(User).cascade(Company, "company", [a], events=False)

    assert ([], ["o"], []) == (heard, names(User), names(Note))
    assert [o._id] == stored(Team)[0]["members"]


async def test_cascade_checks_the_whole_first(call: Runtime) -> None:
    """A cascade that a Ref forbids deletes nothing; nor does one before a forbidden delete."""

    class Bag(Frame):
        users: list[User]

    _c, a, b, _o = await world(call)
    await call(Bill(name="x", payer=b)).insert()
    with pytest.raises(Restricted, match=r"^Bag\.cascade: "):
        await call(Bag).cascade(User, "users", [Bag(users=[a, b])])
    assert ["a", "b", "o"] == names(User)

    class Lid(Frame):
        bag: Annotated[Bag, Ref("restrict")]

    bag = Bag(users=[a])
    await call(bag).insert()
    await call(Lid(bag=bag)).insert()
    Bag.listen("delete", lambda frames: Bag.cascade(User, "users", frames))
    with pytest.raises(Restricted, match=r"^Bag\.delete: .*Lid\.bag"):
        await call(bag).delete()

    assert ["a", "b", "o"] == names(User)


async def test_listeners_changes_join(call: Runtime) -> None:
    """Time stamps, and what a listener puts into the field itself, are part of the write."""

    class Ship(Frame):
        _version = "_v"
        modified: TimeUpdated
        captain: Annotated[User | None, Ref("nullify")]
        crew: Annotated[dict[str, User], Ref("nullify")]
        log: list[str]

    c, a, b, o = await world(call)
    ship = Ship(captain=a, crew={"cook": b, "mate": o}, log=[])
    await call(ship).insert()

    def promote(frames: Any) -> None:
        for frame in frames:
            frame.log = [*frame.log, "changed"]
            if frame.captain is None:
                frame.captain = o

    Ship.listen("update", promote)
    await call(c).delete()
    (found,) = stored(Ship)

    assert (o._id, {"cook": None, "mate": o._id}) == (found["captain"], found["crew"])
    assert isinstance(found["modified"], datetime)
    assert (["changed", "changed"], ship._document.get("_v", 0) + 2) == (found["log"], found["_v"])


async def test_versions_count_without_listeners(call: Runtime) -> None:
    """A release is an update: who holds the document as it was is told of a conflict."""

    class Plain(Frame):
        _version = "_v"
        owner: Annotated[User | None, Ref("nullify")]
        friends: Annotated[dict[str, User], Ref("pull")]

    _c, a, _b, _o = await world(call)
    plain = Plain(owner=a, friends={"x": a})
    await call(plain).insert()
    before = stored(Plain)[0].get("_v", 0)
    await call(a).delete()

    assert before + 2 == stored(Plain)[0]["_v"]
    with pytest.raises(loom.Conflict):
        await call(plain).update("owner")


async def test_a_before_listener_stops_it(call: Runtime) -> None:
    """What stops the delete of a leaf stops the whole, and says how far it came."""

    def refuse(frames: Any) -> None:
        raise LookupError("refused")

    c, a, _b, _o = await world(call)
    await call(Note(name="n", author=a)).insert()
    User.listen("delete", refuse)
    with pytest.raises(LookupError) as caught:
        await call(c).delete()

    assert (["a", "b", "o"], ["c", "d"], []) == (names(User), names(Company), names(Note))
    assert "Company.delete: 1 documents were deleted and 1 changed before" in str(
        caught.value.__notes__  # type: ignore[attr-defined]
    )


async def test_a_root_that_cannot_be_deleted(call: Runtime, server: Server) -> None:
    """When only the delete of the root fails, the error says what was done before it."""
    c, *_ = await world(call)
    point = {"configureFailPoint": "failCommand", "mode": {"skip": 1}}
    data = {"failCommands": ["delete"], "errorCode": 8000}
    try:
        server.client.admin.command({**point, "data": data})
    except OperationFailure as error:
        pytest.skip(f"this deployment has no fail points: {error}")
    try:
        with pytest.raises(OperationFailure) as caught:
            await call(c).delete()
    finally:
        server.client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})

    assert (["o"], ["c", "d"]) == (names(User), names(Company))
    assert "Company.delete: 2 documents were deleted and 1 changed before" in str(
        caught.value.__notes__  # type: ignore[attr-defined]
    )
    await call(c).delete()
    assert ["d"] == names(Company)


async def test_what_points_elsewhere_meanwhile_stays(call: Runtime) -> None:
    """A document that was moved to another company while its delete was on the way is kept."""
    c, _a, b, o = await world(call)

    def move() -> None:
        if not moved:
            moved.append(True)
            User.get_collection().update_one({"_id": b._id}, {"$set": {"company": o.company}})

    moved: list[bool] = []
    told: list[str] = []
    User.listen("delete", move)
    User.listen("deleted", lambda frames: told.extend(frame.name for frame in frames))
    await call(c).delete()

    assert (["b", "o"], ["a"]) == (names(User), told)


async def test_by_filter_and_many(call: Runtime) -> None:
    """Every way of deleting keeps references whole."""
    for way in ("delete_many", "delete_where"):
        c, _a, _b, _o = await world(call)
        if way == "delete_many":
            await call(Company).delete_many([c])
        else:
            await call(Company).delete_where({"name": "c"})
        assert ["o"] == names(User)
        await call(User).delete_where({}, all=True)
        await call(Company).delete_where({}, all=True)


# Sessions and transactions


async def in_transaction(call: Runtime, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine inside a transaction of either kind."""
    if call.is_async:
        async with loom.aio.transaction():
            await body()
    else:
        with loom.transaction():
            await body()


def skip_without_transactions(server: Server) -> None:
    """Skip where the deployment has no transactions."""
    hello = server.client.admin.command("hello")
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        pytest.skip("transactions need a replica set or a sharded cluster")


async def test_it_joins_a_transaction(call: Runtime, server: Server) -> None:
    """Rolled back, nothing has happened; committed, all of it."""
    skip_without_transactions(server)
    c, a, _b, o = await world(call)
    await call(Note(name="n", author=a)).insert()
    await call(Team(name="t", members=[a, o], roles={"r": a})).insert()
    before = [stored(cls) for cls in (Company, User, Note, Team)]

    async def stopped() -> None:
        await call(c).delete()
        raise LookupError("stopped")

    with pytest.raises(LookupError):
        await in_transaction(call, stopped)
    assert before == [stored(cls) for cls in (Company, User, Note, Team)]

    async def done() -> None:
        await call(c).delete()

    await in_transaction(call, done)
    assert (["d"], ["o"], []) == (names(Company), names(User), names(Note))
    assert [o._id] == stored(Team)[0]["members"]


async def test_it_uses_the_session_of_the_call(call: Runtime, server: Server) -> None:
    """Every command of it carries the session that the delete was given."""
    c, a, _b, _o = await world(call)
    await call(Team(name="t", members=[a], roles={"r": a})).insert()
    session = server.aio.start_session() if call.is_async else server.client.start_session()
    server.commands.clear()
    await call(c).delete(session=session)

    assert 6 <= len(server.commands.bodies)
    assert {session.session_id["id"]} == {b["lsid"]["id"] for b in server.commands.bodies}
    ended = session.end_session()
    if call.is_async:
        await ended


async def test_read_only(call: Runtime) -> None:
    """Where writing is switched off, nothing is released either."""
    c, _a, _b, _o = await world(call)
    with loom.read_only(), pytest.raises(loom.ReadOnly):
        await call(c).delete()

    assert ["a", "b", "o"] == names(User)


# Size


@pytest.mark.parametrize("with_listener", [False, True])
async def test_batches_and_chunks_are_bounded(
    call: Runtime, server: Server, db: str, monkeypatch: pytest.MonkeyPatch, with_listener: bool
) -> None:
    """No command carries more ids than a chunk, no event more frames than a batch."""
    monkeypatch.setattr("loom.frames.on_delete.BATCH", 40)
    loom.connect(server.client, aio=server.aio, db=db, reference_chunk=10)
    c = Company(name="c")
    await call(c).insert()
    users = await call(User).insert_many([{"name": f"{n}", "company": c} for n in range(100)])
    await call(Note).insert_many([{"name": f"{n}", "author": user} for n, user in enumerate(users)])
    sizes: list[int] = []
    if with_listener:
        User.listen("deleted", lambda frames: sizes.append(len(frames)))
    server.commands.clear()
    await call(c).delete()

    assert sizes == ([40, 40, 20] if with_listener else [])
    for (name, collection), body in zip(server.commands.sent, server.commands.bodies, strict=True):
        if name == "delete":
            assert len(body["deletes"]) <= 40
        if name == "find" and collection in ("kept.user", "kept.note"):
            (condition,) = body["filter"].values()
            assert len(condition["$in"]) <= 10
    assert [] == stored(User) + stored(Note) + stored(Company)


class Lexicon(Frame):
    """Is referred to."""

    name: str


class Lemma(Frame):
    """Goes with its lexicon; its `_id` has one case, those from before that was declared have not."""

    _id: StrLower
    lexicon: Annotated[Lexicon, Ref(on_delete="cascade")]


async def test_ids_that_are_not_in_their_case(call: Runtime) -> None:
    """What goes too is found by its `_id` as it is stored, also when listeners are told of it."""
    lexicon = Lexicon(name="A to K")
    await call(lexicon).insert()
    Lemma.get_collection().insert_one({"_id": "ABC", "lexicon": lexicon._id})
    told: list[Any] = []
    Lemma.listen("deleted", lambda frames: told.extend(frame._id for frame in frames))
    await call(lexicon).delete()

    assert (["ABC"], 0) == (told, await call(Lemma).count({}))
