"""Print one table: what Loom costs beside raw PyMongo."""

from __future__ import annotations

import argparse
import gc
import platform
import sys
from collections.abc import Iterable, Sequence

import pymongo

from . import wire
from .bench import Bench, Row
from .cases import CASES


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cases that were asked for and print their table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=CASES, metavar="NAME", help=", ".join(CASES)
    )
    parser.add_argument("--rounds", type=int, help="rounds of every case; each has its own number")
    parser.add_argument(
        "--quick", action="store_true", help="show that the programs run; the figures mean nothing"
    )
    chosen = parser.parse_args(arguments)

    rows: list[Row] = []
    with wire.start() as uri:
        bench = Bench(uri, chosen.rounds, chosen.quick)
        try:
            for name in chosen.only or CASES:
                print(f"{name} ...", file=sys.stderr, flush=True)
                rows += CASES[name](bench)
        finally:
            bench.close()
    print(
        f"Python {platform.python_version()}, PyMongo {pymongo.version}, "
        f"collector at {gc.get_threshold()}"
    )
    print(table(rows))


def table(rows: Iterable[Row]) -> str:
    """Return rows as an aligned Markdown table."""
    lines: list[Sequence[str]] = [("case", "Loom", "raw", "ratio", "middle half", "at most", "")]
    lines += [
        (r.case, r.loom, r.raw, r.ratio, r.spread, r.limit, "pass" if r.passed else "over")
        for r in rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    )


if __name__ == "__main__":
    main()
