"""What Loom costs beside raw PyMongo: `python -m tests.benchmarks` prints one table.

    python -m tests.benchmarks [--only NAME ...] [--rounds N] [--quick]

Another interpreter measures itself: `python3.13 -m tests.benchmarks`. A computer that has
other things to do gives wider spreads; the ratios suffer less than the times.
"""
