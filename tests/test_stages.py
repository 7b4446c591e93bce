"""AggregationStages: every stage by its name, as the document that MongoDB takes."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom import Frame, MissingId, Q, QueryError, SubFrame
from loom.frames import SortBy
from loom.frames.stages import AggregationStages

from .conftest import Runtime
from .zoo import Dragon, Item

#: The stages of MongoDB's reference, 8.3.
REFERENCE = [
    "addFields",
    "bucket",
    "bucketAuto",
    "changeStream",
    "changeStreamSplitLargeEvent",
    "collStats",
    "count",
    "currentOp",
    "densify",
    "documents",
    "facet",
    "fill",
    "geoNear",
    "graphLookup",
    "group",
    "indexStats",
    "limit",
    "listClusterCatalog",
    "listLocalSessions",
    "listSampledQueries",
    "listSearchIndexes",
    "listSessions",
    "lookup",
    "match",
    "merge",
    "out",
    "planCacheStats",
    "project",
    "querySettings",
    "queryStats",
    "rankFusion",
    "redact",
    "replaceRoot",
    "replaceWith",
    "sample",
    "score",
    "scoreFusion",
    "search",
    "searchMeta",
    "set",
    "setWindowFields",
    "shardedDataDistribution",
    "skip",
    "sort",
    "sortByCount",
    "unionWith",
    "unset",
    "unwind",
    "vectorSearch",
]

S = AggregationStages()
SUM = {"$sum": "$gold"}

#: A call, and the content of the stage that it adds.
CALLS: list[tuple[str, Callable[[], AggregationStages], Any]] = [
    ("addFields", lambda: S.add_fields(a="$b", c=Q.lair.gold), {"a": "$b", "c": "$lair.gold"}),
    ("addFields", lambda: S.add_fields({"a.b": 1}), {"a.b": 1}),
    ("addFields", lambda: S.add_fields({"a": {"$literal": "$5"}}), {"a": {"$literal": "$5"}}),
    ("bucket", lambda: S.bucket("$age", [0, 9]), {"groupBy": "$age", "boundaries": [0, 9]}),
    (
        "bucket",
        lambda: S.bucket(Q.age, (0, 9), default=None, output={"total": SUM}),
        {"groupBy": "$age", "boundaries": [0, 9], "default": None, "output": {"total": SUM}},
    ),
    (
        "bucketAuto",
        lambda: S.bucket_auto("$age", 4, output={"n": {"$count": {}}}, granularity="R5"),
        {"groupBy": "$age", "buckets": 4, "output": {"n": {"$count": {}}}, "granularity": "R5"},
    ),
    ("changeStream", lambda: S.change_stream(), {}),
    (
        "changeStream",
        lambda: S.change_stream(full_document="updateLookup", resume_after={"_data": "8"}),
        {"fullDocument": "updateLookup", "resumeAfter": {"_data": "8"}},
    ),
    ("changeStreamSplitLargeEvent", lambda: S.change_stream_split_large_event(), {}),
    ("collStats", lambda: S.coll_stats(count=True), {"count": {}}),
    (
        "collStats",
        lambda: S.coll_stats(storage_stats={"scale": 1024}, latency_stats=True),
        {"latencyStats": {}, "storageStats": {"scale": 1024}},
    ),
    ("count", lambda: S.count(), "count"),
    ("count", lambda: S.count("dragons"), "dragons"),
    ("currentOp", lambda: S.current_op(all_users=True), {"allUsers": True}),
    (
        "densify",
        lambda: S.densify(Q.at, step=1, unit="hour", partition_by_fields=["breed"]),
        {
            "field": "at",
            "partitionByFields": ["breed"],
            "range": {"step": 1, "unit": "hour", "bounds": "full"},
        },
    ),
    (
        "densify",
        lambda: S.densify("x", step=2, bounds=(0, 9)),
        {"field": "x", "range": {"step": 2, "bounds": [0, 9]}},
    ),
    ("documents", lambda: S.documents([{"a": 1}]), [{"a": 1}]),
    (
        "facet",
        lambda: S.facet(old=S.match(Q.age > 99), all=[{"$count": "n"}]),
        {"old": [{"$match": {"age": {"$gt": 99}}}], "all": [{"$count": "n"}]},
    ),
    (
        "fill",
        lambda: S.fill({"age": {"method": "locf"}}, sort_by="-at", partition_by_fields=["breed"]),
        {
            "partitionByFields": ["breed"],
            "sortBy": {"at": -1},
            "output": {"age": {"method": "locf"}},
        },
    ),
    (
        "geoNear",
        lambda: S.geo_near((4.5, 52), "metres", max_distance=500, query=Q.age > 5),
        {
            "near": {"type": "Point", "coordinates": [4.5, 52]},
            "distanceField": "metres",
            "maxDistance": 500,
            "query": {"age": {"$gt": 5}},
        },
    ),
    (
        "graphLookup",
        lambda: S.graph_lookup(
            Dragon,
            start_with=Q.nemesis,
            connect_from_field="nemesis",
            connect_to_field="_id",
            as_="enemies",
            max_depth=0,
            restrict_search_with_match=Q.age > 5,
        ),
        {
            "from": "Dragon",
            "startWith": "$nemesis",
            "connectFromField": "nemesis",
            "connectToField": "_id",
            "as": "enemies",
            "maxDepth": 0,
            "restrictSearchWithMatch": {"age": {"$gt": 5}},
        },
    ),
    ("group", lambda: S.group("$breed", total=SUM), {"_id": "$breed", "total": SUM}),
    ("group", lambda: S.group(Q.breed), {"_id": "$breed"}),
    ("group", lambda: S.group(None, n={"$sum": 1}), {"_id": None, "n": {"$sum": 1}}),
    (
        "group",
        lambda: S.group({"b": Q.breed}, top={"$max": Q.age}),
        {"_id": {"b": "$breed"}, "top": {"$max": "$age"}},
    ),
    ("indexStats", lambda: S.index_stats(), {}),
    ("limit", lambda: S.limit(5), 5),
    ("listClusterCatalog", lambda: S.list_cluster_catalog(shards=True), {"shards": True}),
    ("listLocalSessions", lambda: S.list_local_sessions(all_users=True), {"allUsers": True}),
    (
        "listSampledQueries",
        lambda: S.list_sampled_queries(namespace="zoo.Dragon"),
        {"namespace": "zoo.Dragon"},
    ),
    ("listSearchIndexes", lambda: S.list_search_indexes(name="texts"), {"name": "texts"}),
    (
        "listSessions",
        lambda: S.list_sessions(users=[{"user": "ann", "db": "zoo"}]),
        {"users": [{"user": "ann", "db": "zoo"}]},
    ),
    (
        "lookup",
        lambda: S.lookup(Item, "loot", as_="items"),
        {"from": "Item", "localField": "loot", "foreignField": "_id", "as": "items"},
    ),
    (
        "lookup",
        lambda: S.lookup("Item", let={"o": Q._id}, pipeline=S.match(Q.value > 5), as_="items"),
        {
            "from": "Item",
            "let": {"o": "$_id"},
            "pipeline": [{"$match": {"value": {"$gt": 5}}}],
            "as": "items",
        },
    ),
    (
        "match",
        lambda: S.match((Q.age > 5) & (Q.name == "x")),
        {"$and": [{"age": {"$gt": 5}}, {"name": "x"}]},
    ),
    ("match", lambda: S.match({"age": 5}), {"age": 5}),
    ("match", lambda: S.match(None), {}),
    ("merge", lambda: S.merge("totals"), {"into": "totals"}),
    (
        "merge",
        lambda: S.merge(
            Item, db="old", on=("a", "b"), when_matched=S.set(n=1), when_not_matched="discard"
        ),
        {
            "into": {"db": "old", "coll": "Item"},
            "on": ["a", "b"],
            "whenMatched": [{"$set": {"n": 1}}],
            "whenNotMatched": "discard",
        },
    ),
    ("out", lambda: S.out("totals"), "totals"),
    ("out", lambda: S.out(Item, db="old"), {"db": "old", "coll": "Item"}),
    (
        "out",
        lambda: S.out("t", db="x", timeseries={"timeField": "at"}),
        {"db": "x", "coll": "t", "timeseries": {"timeField": "at"}},
    ),
    ("planCacheStats", lambda: S.plan_cache_stats(all_hosts=True), {"allHosts": True}),
    ("project", lambda: S.project({"name": 1, "g": Q.lair.gold}), {"name": 1, "g": "$lair.gold"}),
    ("project", lambda: S.project(["name", Q.age]), {"name": True, "age": True}),
    ("project", lambda: S.project(_id=False, name=True), {"_id": False, "name": True}),
    (
        "querySettings",
        lambda: S.query_settings(show_debug_query_shape=True),
        {"showDebugQueryShape": True},
    ),
    (
        "queryStats",
        lambda: S.query_stats(transform_identifiers={"algorithm": "hmac-sha-256"}),
        {"transformIdentifiers": {"algorithm": "hmac-sha-256"}},
    ),
    (
        "rankFusion",
        lambda: S.rank_fusion({"a": S.sort("-age"), "b": [{"$limit": 1}]}, weights={"a": 2}),
        {
            "input": {"pipelines": {"a": [{"$sort": {"age": -1}}], "b": [{"$limit": 1}]}},
            "combination": {"weights": {"a": 2}},
        },
    ),
    ("redact", lambda: S.redact("$$KEEP"), "$$KEEP"),
    ("replaceRoot", lambda: S.replace_root(Q.lair), {"newRoot": "$lair"}),
    ("replaceWith", lambda: S.replace_with("$lair"), "$lair"),
    ("sample", lambda: S.sample(3), {"size": 3}),
    (
        "score",
        lambda: S.score(Q.age, normalization="sigmoid", weight=0.5),
        {"score": "$age", "normalization": "sigmoid", "weight": 0.5},
    ),
    (
        "scoreFusion",
        lambda: S.score_fusion(
            {"a": S.score(Q.age)},
            normalization="sigmoid",
            weights={"a": 2},
            combine={"$sum": ["$$a"]},
        ),
        {
            "input": {
                "pipelines": {"a": [{"$score": {"score": "$age"}}]},
                "normalization": "sigmoid",
            },
            "combination": {
                "weights": {"a": 2},
                "method": "expression",
                "expression": {"$sum": ["$$a"]},
            },
        },
    ),
    (
        "search",
        lambda: S.search({"text": {"query": "$x", "path": "name"}}, index="names"),
        {"index": "names", "text": {"query": "$x", "path": "name"}},
    ),
    (
        "searchMeta",
        lambda: S.search_meta({"exists": {"path": "name"}}, count={"type": "total"}),
        {"count": {"type": "total"}, "exists": {"path": "name"}},
    ),
    ("set", lambda: S.set(a=1), {"a": 1}),
    (
        "setWindowFields",
        lambda: S.set_window_fields(
            {"total": {"$sum": Q.age, "window": {"documents": ["unbounded", "current"]}}},
            sort_by=Q.age.desc,
            partition_by=Q.breed,
        ),
        {
            "partitionBy": "$breed",
            "sortBy": {"age": -1},
            "output": {
                "total": {"$sum": "$age", "window": {"documents": ["unbounded", "current"]}}
            },
        },
    ),
    ("shardedDataDistribution", lambda: S.sharded_data_distribution(), {}),
    ("skip", lambda: S.skip(0), 0),
    ("sort", lambda: S.sort("breed", "-age"), {"breed": 1, "age": -1}),
    ("sort", lambda: S.sort("age", descending=True), {"age": -1}),
    ("sort", lambda: S.sort("age", -1), {"age": -1}),
    ("sort", lambda: S.sort(SortBy(Q.breed, Q.age.desc)), {"breed": 1, "age": -1}),
    ("sort", lambda: S.sort({"score": {"$meta": "textScore"}}), {"score": {"$meta": "textScore"}}),
    ("sortByCount", lambda: S.sort_by_count("$breed"), "$breed"),
    ("unionWith", lambda: S.union_with(Item), {"coll": "Item"}),
    (
        "unionWith",
        lambda: S.union_with("x", S.limit(1)),
        {"coll": "x", "pipeline": [{"$limit": 1}]},
    ),
    ("unset", lambda: S.unset("name", Q.lair.gold), ["name", "lair.gold"]),
    ("unwind", lambda: S.unwind("loot"), {"path": "$loot"}),
    (
        "unwind",
        lambda: S.unwind("$loot", include_array_index="at", preserve_null_and_empty_arrays=True),
        {"path": "$loot", "includeArrayIndex": "at", "preserveNullAndEmptyArrays": True},
    ),
    (
        "vectorSearch",
        lambda: S.vector_search(
            index="v", path="vec", query_vector=(0.1, 0.2), limit=5, exact=True, filter=Q.age > 5
        ),
        {
            "index": "v",
            "path": "vec",
            "queryVector": [0.1, 0.2],
            "exact": True,
            "limit": 5,
            "filter": {"age": {"$gt": 5}},
        },
    ),
]


def snake(name: str) -> str:
    """Return a stage's name as that of a method."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)


# Documents


@pytest.mark.parametrize(("name", "call", "content"), CALLS, ids=[c[0] for c in CALLS])
def test_documents(name: str, call: Callable[[], AggregationStages], content: Any) -> None:
    """Each method adds the document that MongoDB's reference describes."""
    assert [{f"${name}": content}] == call().to_list()


def test_every_stage_of_the_reference_is_there() -> None:
    """There is a method for each stage, no others, and a document above for each."""
    methods = {
        name
        for name, _ in inspect.getmembers(AggregationStages, inspect.isfunction)
        if not name.startswith("_")
    }

    assert {snake(name) for name in REFERENCE} == methods - {"to_list", "stage"}
    assert {*REFERENCE} == {name for name, *_ in CALLS}


def test_sort_keeps_its_order() -> None:
    """The first name decides, in the document too."""
    assert ["b", "a", "c"] == [*S.sort("b", "a", "c").to_list()[0]["$sort"]]


# Values


def test_every_step_is_a_new_value() -> None:
    """Forks of one beginning do not see each other, nor does the beginning change."""
    begin = AggregationStages().match(Q.age > 5)
    one, other = begin.limit(1), begin.limit(2)

    assert [{"$match": {"age": {"$gt": 5}}}] == begin.to_list()
    assert [1, 2] == [one.to_list()[-1]["$limit"], other.to_list()[-1]["$limit"]]
    assert one != other
    assert one != one.to_list()
    assert one == AggregationStages().match({"age": {"$gt": 5}}).limit(1)
    assert hash(one) == hash(AggregationStages(one.to_list()))
    with pytest.raises(AttributeError, match="frozen"):
        begin._stages = ()  # type: ignore[misc]


def test_what_is_handed_out_is_a_copy() -> None:
    """Neither what was passed in nor what comes out is the value itself."""
    content = {"$sum": ["$a"]}
    stages = AggregationStages().add_fields(total=content)
    content["$sum"].append("$b")
    stages.to_list()[0]["$addFields"]["total"] = 0

    assert [{"$addFields": {"total": {"$sum": ["$a"]}}}] == stages.to_list()


def test_joining() -> None:
    """`|` joins two, and takes dicts on both sides."""
    limit = AggregationStages().limit(5)

    assert S.skip(1) | limit == S.skip(1).limit(5)
    assert S.skip(1) | {"$limit": 5} == S.skip(1).limit(5)
    assert S.skip(1) | [{"$limit": 5}, S.count()] == S.skip(1).limit(5).count()
    assert [{"$skip": 1}] | limit == S.skip(1).limit(5)
    assert isinstance([{"$skip": 1}] | limit, AggregationStages)
    assert 2 == len(S.skip(1) | limit)


def test_stages_without_a_method() -> None:
    """A stage that is not known here goes as a dict; its conditions and paths are compiled."""
    stages = S.stage({"$newInMongo": {"at": Q.lair.gold, "in": [{"$match": Q.age > 5}]}})

    assert [
        {"$newInMongo": {"at": "$lair.gold", "in": [{"$match": {"age": {"$gt": 5}}}]}}
    ] == stages.to_list()
    assert [{"$newInMongo": [{"$limit": 1}]}] == S.stage({"$newInMongo": S.limit(1)}).to_list()
    assert [{"$sort": {"age": -1}}] == S.stage({"$sort": "-age"}).to_list()


def test_copies_and_pickles() -> None:
    """A copy is the value; what comes out of a pickle is equal."""
    stages = S.match(Q.age > 5).group("$breed", n={"$sum": 1})

    assert copy.copy(stages) is stages
    assert copy.deepcopy(stages) is stages
    assert stages == pickle.loads(pickle.dumps(stages))
    assert eval(repr(stages)) == stages


@given(st.lists(st.sampled_from(CALLS), max_size=4), st.lists(st.sampled_from(CALLS), max_size=4))
def test_joining_is_appending(left: list[Any], right: list[Any]) -> None:
    """The stages of `a | b` are those of a, then those of b; neither changes."""
    a, b = (AggregationStages([s for _, call, _ in part for s in call()]) for part in (left, right))
    before = (a.to_list(), b.to_list())

    assert [*a, *b] == (a | b).to_list()
    assert before == (a.to_list(), b.to_list())


# User text


def test_values_in_conditions_stay_values() -> None:
    """A condition compares with what it was given, whatever that is."""
    for sent in ({"$ne": None}, "$secret", {"$gt": ""}):
        (stage,) = S.match(Q.name == sent)

        assert stage["$match"]["name"] in (sent, {"$eq": sent})
        assert (
            {"name": {"$eq": sent}} == stage["$match"]
            if isinstance(sent, dict)
            else sent == "$secret"
        )


@pytest.mark.parametrize("name", ["$where", "$expr", "", "a..b", "a\0b", "$$ROOT"])
def test_names_of_fields_are_no_operators(name: str) -> None:
    """Text in the place of a field's name cannot become an operator or a variable."""
    calls: list[Callable[[], Any]] = [
        lambda: S.add_fields({name: 1}),
        lambda: S.project({name: 1}),
        lambda: S.group(None, **{name: SUM}),
        lambda: S.sort(f"-{name}" if name[:1] == "$" else name),
    ]
    for call in calls:
        with pytest.raises(QueryError):
            call()


def test_frames_stand_for_their_id() -> None:
    """A frame in an expression is its `_id`, as a literal where it would be read as a path."""

    class Label(Frame):
        name: str

    class Tag(SubFrame):
        text: str

    stages = S.add_fields(a=Label(_id="$b"), b=Label(_id=5), c=Tag(text="$d"))

    assert {
        "a": {"$literal": "$b"},
        "b": 5,
        "c": {"$literal": {"text": "$d"}},
    } == stages.to_list()[0]["$addFields"]
    with pytest.raises(MissingId):
        S.add_fields(a=Label(name="x"))


# Refused


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: S.limit(0), "limit: expected a whole number from 1 on, got 0"),
        (lambda: S.limit(2.5), "got 2.5 of type float"),  # type: ignore[arg-type]
        (lambda: S.limit(True), "got True"),
        (lambda: S.skip(-1), "from 0 on, got -1"),
        (lambda: S.sample(0), "sample"),
        (lambda: S.match("age"), "expected a condition or a dict"),  # type: ignore[arg-type]
        (lambda: S.match(True), "Python made of a comparison"),  # type: ignore[arg-type]
        (lambda: S.sort(), "expected names to sort by"),
        (lambda: S.sort("a", "-a"), "each once"),
        (lambda: S.sort("-a", descending=True), "one direction"),
        (lambda: S.group("breed"), "such as '\\$breed', got the text 'breed'"),
        (lambda: S.group(None, n=1), "expected one accumulator"),  # type: ignore[arg-type]
        (lambda: S.group(None, n={"$sum": 1, "$max": 2}), "expected one accumulator"),
        (lambda: S.add_fields(), "at least one field"),
        (lambda: S.add_fields(a=Q.b > 5), "expected an aggregation expression, got the condition"),
        (lambda: S.project("name"), "expected a dict or a list"),
        (lambda: S.unset(), "names of fields"),
        (lambda: S.unset("a", "a"), "each once"),
        (lambda: S.unwind("$$ROOT"), "name of a field"),
        (lambda: S.bucket("$a", [1]), "two boundaries"),
        (lambda: S.bucket_auto("$a", 2, granularity="R7"), "expected one of 'R5'"),
        (lambda: S.count("a.b"), "without \\$ and dots"),
        (lambda: S.densify("a", step=1, unit="hours"), "did you mean 'hour'"),
        (lambda: S.densify("a", step=1, bounds=[1]), "the lowest and highest"),
        (lambda: S.group(None, _id=SUM), "the group's own"),
        (lambda: S.add_fields(5), "expected a dict of expressions"),  # type: ignore[arg-type]
        (lambda: S.lookup(Item, "a", as_="$b"), "name of a new field"),
        (lambda: S.densify("a", step=1, bounds="all"), "expected one of"),  # type: ignore[arg-type]
        (lambda: S.fill({"a": {"value": 0}}, partition_by="$b", partition_by_fields=["c"]), "both"),
        (lambda: S.facet(), "at least one pipeline"),
        (lambda: S.facet({"a.b": S}), "without \\$ and dots"),
        (lambda: S.geo_near((1,)), "longitude"),
        (lambda: S.lookup(Item, as_="x"), "local_field or a pipeline"),
        (lambda: S.lookup(Item, "a", as_="x", let={"b": 1}), "pipeline that uses let"),
        (lambda: S.lookup(5, "a", as_="x"), "Frame class or the name"),  # type: ignore[arg-type]
        (lambda: S.union_with(None), "got neither"),
        (lambda: S.out("a", timeseries={}), "expected db="),
        (lambda: S.merge("a", when_matched="Replace"), "did you mean 'replace'"),  # type: ignore[arg-type]
        (lambda: S.merge("a", when_not_matched="add"), "expected one of"),  # type: ignore[arg-type]
        (lambda: S.search({}), "one operator"),
        (lambda: S.search({"text": {}, "phrase": {}}), "one operator"),
        (
            lambda: S.vector_search(index="a", path="b", limit=1, exact=True),
            "query_vector or query",
        ),
        (
            lambda: S.vector_search(index="a", path="b", limit=1, query_vector=[1]),
            "num_candidates or exact",
        ),
        (
            lambda: S.vector_search(
                index="a", path="b", limit=9, query_vector=[1], num_candidates=5
            ),
            "no less than limit",
        ),
        (lambda: S.rank_fusion({}), "expected pipelines"),
        (lambda: S.rank_fusion({"a": S}, weights={"b": 1}), "expected one of 'a'"),
        (lambda: S.score(1, normalization="max"), "expected one of"),  # type: ignore[arg-type]
        (lambda: S.change_stream(resume_after={}, start_after={}), "got several"),
        (lambda: S.list_search_indexes(id="a", name="b"), "got both"),
        (lambda: S.list_sessions(users=[], all_users=True), "got both"),
        (lambda: S.stage({"$limit": 1, "$skip": 2}), "each stage into a dict of its own"),
        (lambda: S.stage({"limit": 1}), "starts with \\$"),
        (lambda: S.stage({}), "expected a stage"),
        (lambda: S | "limit", "expected stages as a list"),
        (lambda: S | [5], "expected a stage"),  # type: ignore[list-item]
        (lambda: S | (Q.a > 5), "expected stages as a list"),  # type: ignore[operator]
        (lambda: AggregationStages(5), "expected stages as a list"),  # type: ignore[arg-type]
    ],
)
def test_refused(call: Callable[[], Any], message: str) -> None:
    """What no server takes is refused where it is written; the message says what is expected."""
    with pytest.raises(QueryError, match=message):
        call()


def test_an_expression_that_holds_itself() -> None:
    """It is refused, and Python's limit is not reached."""
    endless: dict[str, Any] = {}
    endless["$add"] = [endless, 1]

    with pytest.raises(QueryError, match="hold itself"):
        S.add_fields(a=endless)


# On a server


async def test_a_pipeline_for_pymongo(call: Runtime) -> None:
    """What `to_list` gives is what PyMongo takes."""
    await call(Dragon).insert_many(
        [{"name": str(n), "age": n % 3, "loot": [1] * n} for n in range(6)]
    )
    stages = (
        S.match(Q.age > 0)
        .unwind("loot")
        .group("$age", n={"$sum": 1})
        .set(double={"$multiply": ["$n", 2]})
        .sort("-_id")
        .project(_id=False, age=Q._id, double=True)
    )
    cursor = Dragon.get_collection().aggregate(stages.to_list())

    assert [{"age": 2, "double": 14}, {"age": 1, "double": 10}] == list(cursor)


@pytest.mark.parametrize(
    "stages",
    [
        S.bucket("$age", [0, 2, 9], default="other"),
        S.bucket_auto("$age", 2),
        S.count(),
        S.facet(a=S.count("n"), b=S.sort_by_count("$age")),
        S.lookup(Dragon, "age", "age", as_="same"),
        S.lookup(Dragon, let={"a": Q.age}, pipeline=S.limit(1), as_="x"),
        S.graph_lookup(
            Dragon, start_with="$age", connect_from_field="age", connect_to_field="_id", as_="x"
        ),
        S.replace_root({"a": Q.age}),
        S.replace_with({"a": Q.age}),
        S.redact("$$KEEP"),
        S.sample(2),
        S.sort_by_count(Q.age),
        S.union_with(Dragon, S.limit(1)),
        S.unset("age"),
        S.set_window_fields({"n": {"$sum": 1}}, sort_by="age", partition_by=Q.breed),
        S.fill({"breed": {"value": "none"}}),
        S.index_stats(),
        S.densify("age", step=1),
    ],
    ids=repr,
)
def test_servers_take_it(stages: AggregationStages, db: str) -> None:
    """A server runs the stage as it is sent, and finds something."""
    Dragon.insert_many([{"name": str(n), "age": n * 2} for n in range(4)])

    assert list(Dragon.get_collection().aggregate(stages.to_list()))


def test_writing_stages(db: str) -> None:
    """`$out` and `$merge` write where PyMongo runs them."""
    Dragon.insert_many([{"name": str(n), "age": n} for n in range(4)])
    collection = Dragon.get_collection()
    collection.aggregate(S.match(Q.age > 1).out("old").to_list())
    collection.aggregate(S.match(Q.age < 1).merge("old", when_not_matched="insert").to_list())

    assert 3 == collection.database["old"].count_documents({})
