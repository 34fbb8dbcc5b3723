"""Checks, times and trains on a GPU within half an hour: `python -m benchmarks.gpu --help`.

Three parts, each with its share of the minutes: values and gradients of all models and layers beside those of the CPU;
steps and forecasts beside PyTorch on the same device; a training run for the rest. Each result is written as soon as it
is known, and the same command again goes on where the last one was cut off.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import Any

# Share of the minutes by the end of which a part is over. The last part that is asked for has all the rest.
SHARES = {"correctness": 0.25, "timing": 0.6, "training": 1.0}
NEEDED = {"mlx": "mlx", "numpy": "numpy", "hydra": "hydra-core", "omegaconf": "omegaconf", "tqdm": "tqdm"}
NEEDED |= {"mlx.data": "mlx-data", "matplotlib": "matplotlib", "PIL": "pillow", "yaml": "pyyaml"}
DONE, WRONG, MORE = 0, 1, 3


def check_packages() -> None:
    """Ends the program if a package is missing, and names all of them."""
    missing = []
    for module, package in NEEDED.items():
        try:
            found = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:
            found = False
        missing += [] if found else [package]
    if missing:
        sys.exit(
            f"benchmarks.gpu: {', '.join(missing)} not installed. On a machine without network, bring their wheels: "
            "docs/performance.md, 'On a GPU'."
        )


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit status: 0 all is done, 1 something differs or failed, 2 wrong arguments, 3 there is more to do.",
    )
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="arguments of train.py for the training run")
    parser.add_argument("--experiment", help="experiment of the training run (default: the default task)")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu", help="(default: gpu)")
    parser.add_argument("--minutes", type=float, default=28.0, help="minutes of all commands (default: 28)")
    parser.add_argument("--command-minutes", type=float, default=9.5, help="most minutes of this one (default: 9.5)")
    parser.add_argument("--parts", default=",".join(SHARES), help=f"(default: {','.join(SHARES)})")
    parser.add_argument("--cases", help="some of the cases of correctness, separated by semicolons (default: all)")
    parser.add_argument("--rows", help="some of the rows to time, separated by commas (default: all)")
    parser.add_argument("--precisions", default="float32,bfloat16", help="(default: float32,bfloat16)")
    parser.add_argument(
        "--factor", type=int, default=8, help="how many times larger the large batches are (default: 8)"
    )
    parser.add_argument("--runs", type=int, default=7, help="least timed runs of each side (default: 7)")
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=True, help="time torch.compile, too"
    )
    parser.add_argument("--sequences", type=int, default=1000, help="test sequences of the evaluation (default: 1000)")
    parser.add_argument("--tiny", action="store_true", help="small sizes, to try the script")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="(default: runs/gpu)")
    parser.add_argument("--again", action="store_true", help="begin anew instead of going on")
    options = parser.parse_args(argv)
    for name, known in (("parts", tuple(SHARES)), ("precisions", ("float32", "bfloat16"))):
        setattr(options, name, [value.strip() for value in getattr(options, name).split(",")])
        if unknown := [value for value in getattr(options, name) if value not in known]:
            parser.error(f"--{name} has no {', '.join(map(repr, unknown))}. Choose from: {', '.join(known)}")
    for name in ("minutes", "command_minutes", "factor", "runs", "sequences"):
        if not getattr(options, name) > 0:
            parser.error(f"--{name.replace('_', '-')} must be above 0 but got {getattr(options, name)}.")
    if wrong := [change for change in options.changes if "=" not in change]:
        parser.error(f"arguments of train.py must be KEY=VALUE but got {wrong[0]!r}.")
    return options


def main(argv: list[str] | None = None) -> int:
    """Runs the script. Returns the exit status."""
    options = arguments(argv)
    check_packages()
    import convlstm  # noqa: F401 (before mlx.core: it loads a fast BLAS)
    from benchmarks.gpu import correctness, record, timing, training
    from benchmarks.gpu.budget import Budget
    from benchmarks.gpu.devices import check_device, description

    names = correctness.names()
    cases = names if options.cases is None else [name.strip() for name in options.cases.split(";")]
    try:
        check_device(options.device)
        if unknown := [name for name in cases if name not in names]:
            raise ValueError(f"--cases has no {unknown[0]!r}. Choose from: {'; '.join(names)}")
        rows = timing.rows(options.rows, options.tiny)
        results = record.load(options.out, description(options.device), options.device, options.tiny, options.again)
    except ValueError as error:
        print(f"benchmarks.gpu: {error}", file=sys.stderr)
        return 2
    jobs = timing.jobs(rows, options.factor, options.precisions, options.compile)
    options.out.mkdir(parents=True, exist_ok=True)
    budget = Budget(
        results,
        60 * options.minutes,
        60 * options.command_minutes,
        lambda: record.save(results, options.out),
    )
    with tempfile.TemporaryDirectory() as folder:
        for part in options.parts:
            budget.begin_part(end_of(part, options))
            if part == "correctness":
                correctness.run(results[part], options.device, cases, Path(folder), budget)
            elif part == "timing":
                timing.run(results[part], options.device, jobs, options.runs, Path(folder), budget, print)
            elif "failed" not in results[part]:
                train(results[part], options, training, budget)
            budget.save()
    return finish(results, options, cases, jobs, budget)


def end_of(part: str, options: argparse.Namespace) -> float:
    """Returns the share of the minutes by the end of which a part is over."""
    return 1.0 if part == options.parts[-1] else SHARES[part]


def train(results: dict[str, Any], options: argparse.Namespace, training: Any, budget: Any) -> None:
    """Trains and evaluates as far as there is time."""
    changes = [f"experiment={options.experiment}"] if options.experiment else []
    one = training.Training(
        results,
        options.device,
        [*changes, *options.changes],
        options.sequences,
        options.out / "training",
        budget,
        reserve=5.0 if options.tiny else 60.0,
        pictures=not options.tiny,
    )
    try:
        one.go_on()
    except training.TrainingError as error:
        results["failed"] = str(error)


def finish(results: dict[str, Any], options: argparse.Namespace, cases: list[str], jobs: list[Any], budget: Any) -> int:
    """Prints what was found and what is left, and returns the exit status."""
    left = {
        "correctness": [name for name in cases if name not in results["correctness"]],
        "timing": [job.key for job in jobs if job.key not in results["timing"]],
        "training": [] if {"scores", "failed"} & results["training"].keys() else ["training"],
    }
    if not any("other" in one for one in results["timing"].values()):
        left["timing"] = [job.key for job in jobs if job.key not in results["timing"] and not job.compiled]
    bad = [name for name, one in results["correctness"].items() if not one["agrees"]]
    bad += [name for name, one in results["timing"].items() if not one.get("agrees", True)]
    bad += ["training"] if "failed" in results["training"] else []
    print(f"{(options.out / 'results.md').read_text(encoding='utf-8')}\nWritten: {options.out}")
    more = False
    for part in options.parts:
        if not left[part]:
            continue
        closed = budget.spent() >= end_of(part, options) * 60 * options.minutes
        more |= not closed
        why = "no minutes left for" if closed else "still to do:"
        print(f"{part}: {why} {len(left[part])} of {len(left[part]) + len(results[part])}, such as {left[part][0]}")
    if more:
        print("To go on, run the same command again.")
    if bad:
        print(f"Wrong: {', '.join(bad)}", file=sys.stderr)
        return WRONG
    return MORE if more else DONE


if __name__ == "__main__":
    sys.exit(main())
