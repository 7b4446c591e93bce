"""The command `loom`."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence

from pymongo.errors import OperationFailure, PyMongoError, ServerSelectionTimeoutError

from . import __version__, demo_run, embedded, nycflights
from .errors import LoomError

__all__ = ["main"]

_ALL = nycflights.SIZES["flights"]

_DEMO = f"""\
Load the flights out of New York in 2013 and show what Loom does with them.

Without --uri a server is started on this machine for the time of the demo;
it keeps its data in memory, and nothing is left behind. The environment
(LOOM_URI, MONGODB_URI) is not asked. A database that holds anything but the
data of an earlier demo is refused, and not touched. The part on columns and
windows needs the extras arrow and time.

examples:
  loom demo                                  {demo_run.ROWS:,} of {_ALL:,} flights
  loom demo --rows all                       all of them
  loom demo --keep                           keep them on disk, to go on with
  loom demo --uri mongodb://localhost/flights
"""

_SERVE = """\
Run the embedded server until Ctrl-C, so that several processes can share it.
It prints the URI to connect by. It listens on 127.0.0.1 only and asks for no
password.

examples:
  loom serve                                 data in LOOM_DATA_DIR, else in
                                             your data directory
  loom serve --directory zoo --port 27017
  loom serve --memory                        forget the data at the end
"""

_LOOM = """\
examples:
  loom demo             what Loom does, on real data, in half a minute
  loom serve            a server for this machine, nothing to install
  loom demo --help      more of one command
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command `loom` and return its exit code.

    It is 0 when all went well, 1 after an error, which is one line on standard error, 2 when the
    arguments are wrong, and 130 after Ctrl-C.

    Args:
        arguments: those of the process by default.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help(sys.stderr)
        return 2
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a letter shows another one instead of an error.
        getattr(stream, "reconfigure", lambda errors: None)(errors="replace")
    try:
        if options.command == "demo":
            demo_run.run(options.uri, rows=options.rows, keep=options.keep)
        else:
            embedded.serve(options.directory, memory=options.memory, port=options.port)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read the output has seen enough. The flush at the exit would raise again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (LoomError, PyMongoError) as error:
        print(f"error: {_explained(error)}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    text = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="loom",
        description="Loom, an object mapper for MongoDB.",
        epilog=_LOOM,
        formatter_class=text,
    )
    parser.add_argument("--version", action="version", version=f"loom {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    demo = commands.add_parser(
        "demo", help="show what Loom does, on real data", description=_DEMO, formatter_class=text
    )
    demo.add_argument(
        "--rows",
        type=_rows,
        default=demo_run.ROWS,
        metavar="N",
        help=f"how many flights to load, or 'all' (default: {demo_run.ROWS})",
    )
    place = demo.add_mutually_exclusive_group()
    place.add_argument(
        "--uri",
        help="of the server to use; without a database in it, that is "
        f"{demo_run.DATABASE!r} (default: an embedded server)",
    )
    place.add_argument(
        "--keep",
        action="store_true",
        help="let the embedded server keep the data in its directory",
    )

    serve = commands.add_parser(
        "serve", help="run the embedded server", description=_SERVE, formatter_class=text
    )
    where = serve.add_mutually_exclusive_group()
    where.add_argument(
        "--directory",
        metavar="DIR",
        help=f"where the data is (default: {embedded.data_directory()})",
    )
    where.add_argument("--memory", action="store_true", help="keep the data in memory")
    serve.add_argument(
        "--port", type=int, default=0, metavar="PORT", help="on 127.0.0.1 (default: a free one)"
    )
    return parser


def _rows(text: str) -> int:
    if text == "all":
        return _ALL
    try:
        rows = int(text.replace(",", "").replace("_", ""))
    except ValueError:
        rows = 0
    if rows < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, or 'all', got {text!r}")
    return min(rows, _ALL)


def _explained(error: Exception) -> str:
    """Return what went wrong, without what PyMongo adds for those who debug it."""
    text = str(error)
    if isinstance(error, ServerSelectionTimeoutError):
        reason = re.sub(r" \(configured timeouts:[^)]*\)", "", text.partition(", Timeout:")[0])
        return f"no server answered: {reason}; is it running, and is the URI right?"
    if isinstance(error, OperationFailure) and not isinstance(error, LoomError):
        reason = (error.details or {}).get("errmsg") or text.partition(", full error:")[0]
        hint = "; check user name and password in the URI" if error.code == 18 else ""
        return f"the server refused: {reason} (code {error.code}){hint}"
    return text
