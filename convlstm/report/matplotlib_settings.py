"""The first import of matplotlib, which would read a file `matplotlibrc` of the working folder.

Whatever lies in that folder may come from a stranger. The settings of the user's own folder still apply.
"""

from __future__ import annotations

import os
import sys
from typing import Any


def import_matplotlib() -> None:
    """Imports matplotlib without the settings of the working folder. Does nothing if it is imported already."""
    if "matplotlib" in sys.modules:
        return
    exists = os.path.exists

    def exists_elsewhere(path: Any) -> bool:
        # matplotlib looks for this relative path first.
        return path != "matplotlibrc" and exists(path)

    os.path.exists = exists_elsewhere
    try:
        import matplotlib  # noqa: F401
    finally:
        os.path.exists = exists


import_matplotlib()
