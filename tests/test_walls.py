"""The rules of imports between folders; CONTRIBUTING.md lists them."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

from tests.support.project import PROJECT

import pytest

DATASETS = sorted((PROJECT / "datasets").rglob("*.py"))
CONVLSTM = sorted(file for file in (PROJECT / "convlstm").rglob("*.py") if "datasets" not in file.parts)
SCRIPTS = sorted(PROJECT.glob("*.py"))
# Each room imports only rooms that stand after it.
ORDER = (
    "cli",
    "pysteps_plugin",
    "forecasting",
    "xarrays",
    "writers",
    "report",
    "evaluation",
    "training",
    "models",
    "architectures",
    "layers",
    "ops",
)
# None of these knows how models are trained.
BELOW_TRAINING = ("runs", "checkpoints", "metrics", "distributed")


@functools.cache
def touched(source: str, package: str = "") -> set[str]:
    """Dotted names of all that a module imports, wherever in it, and of the attributes it takes from these.

    Args:
        source: The module's text.
        package: The package that holds it, to which its relative imports refer.
    """
    names: set[str] = set()
    bound: dict[str, str] = {}
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names.add(alias.name)
                root = alias.name.partition(".")[0]
                bound[alias.asname or root] = alias.name if alias.asname else root
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                names.add(f"{base}.{alias.name}")
                bound[alias.asname or alias.name] = f"{base}.{alias.name}"
    for node in ast.walk(tree):
        parts = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if parts and isinstance(node, ast.Name) and node.id in bound:
            names.add(".".join([bound[node.id], *reversed(parts)]))
    return names


def offenders(files: list[Path], *forbidden: str) -> list[str]:
    """`file: name` for each name in these files that is one of the forbidden ones or inside it."""
    found = []
    for file in files:
        place = file.relative_to(PROJECT)
        for name in sorted(touched(file.read_text(encoding="utf-8"), ".".join(place.parent.parts))):
            if any(name == wall or name.startswith(f"{wall}.") for wall in forbidden):
                found.append(f"{place}: {name}")
    return found


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import mlx.core as mx", {"mlx.core"}),
        ("from mlx import core", {"mlx.core"}),
        ("def f():\n    import hydra.utils", {"hydra.utils"}),
        (
            "import mlx.core as mx\nmx.distributed.init()",
            {"mlx.core", "mlx.core.distributed.init", "mlx.core.distributed"},
        ),
        ("import mlx.core\nmlx.core.eval()", {"mlx.core", "mlx.core.eval"}),
        ("from . import training", {"convlstm.training"}),
        ("from .training.loop import fit", {"convlstm.training.loop.fit"}),
        ("from ..training import loop", {"training.loop"}),
    ],
)
def test_touched_sees_every_form_of_import(source, expected):
    assert touched(source, "convlstm") == expected


def module(file: Path) -> str:
    """Returns the dotted name of a file's module; the folder `datasets` is the package `convlstm.datasets`."""
    parts = file.relative_to(PROJECT).with_suffix("").parts
    parts = ("convlstm", *parts) if parts[0] == "datasets" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(name: str) -> str:
    """Returns the folder of a module, or its own name if it lies at the top; "" for the package itself."""
    return name.split(".")[1] if "." in name else ""


def imports_of_rooms() -> dict[str, dict[str, set[str]]]:
    """Returns the rooms that each room imports, anywhere in its files, each with the imports that do so."""
    modules = {module(file): file for file in CONVLSTM + DATASETS}
    rooms: dict[str, dict[str, set[str]]] = {room(name): {} for name in modules}
    for name, file in modules.items():
        package = name if file.stem == "__init__" else name.rpartition(".")[0]
        for imported in touched(file.read_text(encoding="utf-8"), package):
            if imported.startswith("convlstm.") and room(imported) in rooms and room(imported) != room(name):
                rooms[room(name)].setdefault(room(imported), set()).add(f"{name} imports {imported}")
    return rooms


def test_no_circle_of_rooms():
    rooms = imports_of_rooms()
    # The package's own file hands out names of several rooms on first use.
    left = {name: set(others) - {""} for name, others in rooms.items() if name != ""}
    while done := [name for name, others in left.items() if not others & set(left)]:
        for name in done:
            del left[name]
    lines = [line for name in left for other in left[name] & set(left) for line in sorted(rooms[name][other])]
    assert left == {}, "\n".join(lines)


@pytest.mark.parametrize("place", range(1, len(ORDER)))
def test_a_room_imports_only_what_follows_it(place):
    imported = imports_of_rooms()[ORDER[place]]
    assert {name: imported[name] for name in ORDER[:place] if name in imported} == {}


@pytest.mark.parametrize("name", BELOW_TRAINING)
def test_what_training_stands_on_does_not_know_it(name):
    assert imports_of_rooms()[name].get("training") is None


def test_every_room_is_in_the_graph():
    assert {*ORDER, *BELOW_TRAINING, "datasets", "convert", "backend"} <= set(imports_of_rooms())
    top = {"layers", "models", "losses", "ensemble_losses", "summary", "doctor", "arguments", "gaps"}
    assert {file.stem for file in (PROJECT / "convlstm").glob("*.py")} == top | {"__init__"}


def test_only_the_command_line_knows_data_sets_and_the_configuration():
    rest = [file for file in CONVLSTM if file.parts[-2] != "cli"]
    assert offenders(rest, "hydra", "omegaconf") == []
    # Its Datasets are read as files are.
    rest = [file for file in rest if file.parts[-2] != "xarrays"]
    assert offenders(rest, "convlstm.datasets", "datasets") == []


def test_datasets_know_neither_models_nor_arrays_on_the_device():
    imported = {line.split()[-1] for lines in imports_of_rooms()["datasets"].values() for line in lines}
    # Nothing else of ours.
    leaves = ("memory", "hdf5", "child_main", "child_pool", "child_process", "projection_text")
    allowed = ("convlstm.arguments.", "convlstm.gaps.", *(f"convlstm.backend.{leaf}." for leaf in leaves))
    assert [name for name in sorted(imported) if not name.startswith(allowed)] == []
    assert offenders(DATASETS, "mlx.core", "mlx.nn", "mlx.optimizers", "mlx.utils") == []


def test_only_distributed_touches_mx_distributed():
    rest = [file for file in CONVLSTM + DATASETS + SCRIPTS if file.parts[-2] != "distributed"]
    assert offenders(rest, "mlx.core.distributed") == []


def test_only_report_touches_matplotlib():
    rest = [file for file in CONVLSTM + DATASETS + SCRIPTS if PROJECT / "convlstm" / "report" not in file.parents]
    assert offenders(rest, "matplotlib") == []


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("convlstm.datasets", ["mlx.core", "convlstm.layers", "matplotlib", "hydra"]),
        ("convlstm", ["mlx.core", "convlstm.datasets", "matplotlib", "hydra", "xarray"]),
        ("convlstm.forecasting.ensemble", ["convlstm.datasets", "hydra", "xarray"]),
        ("convlstm.xarrays.archive", ["mlx.core", "hydra", "xarray"]),
        ("convlstm.layers", ["convlstm.training", "convlstm.evaluation", "matplotlib"]),
        ("convlstm.training", ["convlstm.writers", "convlstm.report", "PIL", "matplotlib"]),
        ("convlstm.training.loop", ["convlstm.writers", "convlstm.report", "PIL", "matplotlib"]),
    ],
)
def test_an_import_brings_nothing_from_beyond_the_wall(module, absent):
    code = f"import sys, {module}; print([name for name in {absent} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
