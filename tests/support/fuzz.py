"""Random slips in valid configurations: `python -m tests.fuzz --cases 500 --seed 0`.

Each case changes one key of the configuration of an experiment, of a choice of a group or of a checkpoint, on the
command line or in a file, and calls the door within this process. The door must refuse it with a message that names
the key, or accept it and do its work: a traceback, a message without the key, and a case that takes long all fail.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter


def main() -> None:
    """Runs the cases and prints how they ended; exit status 1 where one failed."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="the number of the first case")
    parser.add_argument("--only", type=int, help="the number of one case")
    parser.add_argument("--verbose", action="store_true", help="print what was said in every case")
    options = parser.parse_args()
    from tests.support.fuzz_bench import bench, cases, judged

    counts: Counter[str] = Counter()
    with bench() as place:
        for case in cases(options.cases, options.seed):
            if case.number < options.start or options.only not in (None, case.number):
                continue
            start = time.perf_counter()
            outcome = place.run(case.base, case.corruption, in_file=case.in_file)
            outcome = judged(case.corruption, outcome, time.perf_counter() - start)
            counts[outcome.kind] += 1
            if outcome.kind == "failed" or options.verbose:
                print(f"{outcome.kind}  {case}\n    " + outcome.text.strip().replace("\n", "\n    "), flush=True)
    print(
        f"{sum(counts.values())} tried: {counts['refused']} refused with the key named, {counts['accepted']} accepted, "
        f"{counts['failed']} failed"
    )
    sys.exit(1 if counts["failed"] else 0)


if __name__ == "__main__":
    main()
