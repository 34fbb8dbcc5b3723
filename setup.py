"""Builds the CPU's kernels into the package: `convlstm/ops/cpu/build.py`. Everything else is in pyproject.toml.

A wheel has the kernels of all levels of its architecture, an editable installation those of this machine.
CONVLSTM_LEVELS names others, such as x86-64-v3,x86-64-v4, or none. Without g++ the package is installed without them.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
FOLDER = Path("convlstm", "ops", "cpu", "built")


def load() -> ModuleType:
    """Returns the module `convlstm.ops.cpu.build`. The package itself cannot be imported without MLX."""
    spec = importlib.util.spec_from_file_location("kernels_build", HERE / "convlstm" / "ops" / "cpu" / "build.py")
    if spec is None or spec.loader is None:
        raise ImportError("convlstm/ops/cpu/build.py is missing. Get a whole copy of the project.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


build = load()


def wanted(*, editable: bool) -> list[str]:
    """Returns the levels to build."""
    asked = os.environ.get("CONVLSTM_LEVELS")
    if asked is None:
        return build.levels_here()[:1] if editable else build.levels()
    names = [] if asked == "none" else asked.split(",")
    if unknown := [name for name in names if name not in build.levels()]:
        raise SystemExit(
            f"CONVLSTM_LEVELS has '{unknown[0]}', and this machine compiles for {', '.join(build.levels()) or 'none'}."
        )
    return names


class BuildWithKernels(build_py):
    """Copies the package's files, and builds the kernels beside them."""

    def run(self):
        super().run()
        folder = HERE / FOLDER if self.editable_mode else Path(self.build_lib).resolve() / FOLDER
        for line in build.build(folder, wanted(editable=self.editable_mode)):
            print(line)


class WithKernels(Distribution):
    """A package that belongs to a platform if kernels are built into it."""

    def has_ext_modules(self):
        return bool(build.can_build() and wanted(editable=False))


class PlatformWheel(bdist_wheel):
    """Names the platform of a wheel, and no version of Python, of which the kernels know nothing."""

    def get_tag(self):
        return super().get_tag() if self.root_is_pure else ("py3", "none", super().get_tag()[2])


setup(cmdclass={"build_py": BuildWithKernels, "bdist_wheel": PlatformWheel}, distclass=WithKernels)
