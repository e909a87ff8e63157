"""``make chaos``: the long form of the crash suite, a table of figures at its end, and its verdict as exit status."""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

from tests.chaos.storm import ALL, Plan, run


def main() -> int:
    """Run it on each database asked for; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--events", type=int, default=6000, help="events to be delivered, four of each job")
    parser.add_argument("--kills", type=int, default=300, help="kills at least")
    parser.add_argument("--seconds", type=float, default=900.0, help="of storm at most, on each database")
    parser.add_argument("--seed", type=int, default=1, help="of faults and moods")
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--faults", default=",".join(ALL), help="beside kills, separated by commas")
    asked = parser.parse_args()
    chosen = [each for each in asked.faults.split(",") if each]
    if unknown := set(chosen) - set(ALL):
        parser.error(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    kept = True
    for database in ("sqlite", "postgresql") if asked.database == "both" else (asked.database,):
        plan = Plan(asked.events, asked.kills, asked.seed, database, asked.seconds, chosen)
        with tempfile.TemporaryDirectory(prefix="foreman-chaos-") as folder:
            outcome = run(plan, Path(folder) / "fleet", partial(print, f"{database}:", flush=True))
        print(f"{database}, seed {plan.seed}: {outcome}", flush=True)
        kept = kept and outcome.verdict.kept
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
