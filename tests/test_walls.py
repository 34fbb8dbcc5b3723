"""Who may import whom; CONTRIBUTING.md draws the map."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
DOORS = sorted([*PROJECT.glob("*.py"), *(PROJECT / "doors").glob("*.py")])
CONVLSTM = sorted((PROJECT / "convlstm").rglob("*.py"))
DATASETS = sorted((PROJECT / "datasets").rglob("*.py"))


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


def test_convlstm_knows_neither_datasets_nor_the_configuration():
    assert offenders(CONVLSTM, "datasets", "hydra", "omegaconf") == []


def test_datasets_knows_neither_convlstm_nor_arrays_on_the_device():
    assert offenders(DATASETS, "convlstm", "mlx.core", "mlx.nn", "mlx.optimizers", "mlx.utils") == []


def test_ops_and_layers_do_not_know_training_or_evaluation():
    low = [file for file in CONVLSTM if "ops" in file.parts or file.name == "layers.py"]
    assert {"ops", "cpu", "convlstm"} == {file.parent.name for file in low}
    assert offenders(low, "convlstm.training", "convlstm.evaluation") == []


def test_only_training_distributed_touches_mx_distributed():
    rest = [file for file in CONVLSTM + DATASETS + DOORS if file.parts[-2:] != ("training", "distributed.py")]
    assert offenders(rest, "mlx.core.distributed") == []


def test_only_report_touches_matplotlib():
    rest = [file for file in CONVLSTM + DATASETS + DOORS if PROJECT / "convlstm" / "report" not in file.parents]
    assert offenders(rest, "matplotlib") == []


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("datasets", ["mlx.core", "convlstm", "matplotlib", "hydra"]),
        ("convlstm", ["mlx.core", "datasets", "matplotlib", "hydra"]),
        ("convlstm.layers", ["convlstm.training", "convlstm.evaluation", "matplotlib"]),
    ],
)
def test_an_import_brings_nothing_from_beyond_the_wall(module, absent):
    code = f"import sys, {module}; print([name for name in {absent} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
