"""Hooks of MkDocs (mkdocs.yml): run the tutorials and make pages of them, and publish the examples.

Each tutorial becomes a page with what its cells print and draw, and a notebook with the same for Jupyter.
"""

from __future__ import annotations

import base64
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.structure.files import File, Files

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from docs.notebooks import TUTORIALS, Cell, run  # noqa: E402


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Adds the pages of the tutorials, their pictures and notebooks, and the files of examples that pages link to."""
    for path in sorted(TUTORIALS.glob("*.py")):
        with tempfile.TemporaryDirectory() as folder:
            cells = run(path, Path(folder))
        for name, content in _page(path, cells).items():
            files.append(File.generated(config, f"tutorials/{name}", content=content))
    for path in sorted((PROJECT / "examples").iterdir()):
        if path.is_file():
            files.append(File.generated(config, f"examples/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Returns a page whose links to files of the repository lead to those of the site."""
    markdown = re.sub(r"\]\(((?:\.\./)*(?:tutorials/)?\w+)\.py\)", r"](\1.md)", markdown)
    return re.sub(r"\]\(((?:\.\./)*)\.\./examples/", r"](\1examples/", markdown)


def _page(path: Path, cells: list[Cell]) -> dict[str, str | bytes]:
    """Returns the files of a tutorial by name: its page, its pictures and its notebook."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for cell in cells:
        if not cell.code:
            parts.append(cell.text)
            notebook.cells.append(nbformat.v4.new_markdown_cell(cell.text))
            continue
        parts.append(f"```python\n{cell.text}\n```")
        outputs = []
        if cell.printed:
            parts.append(f'```text title="Output"\n{cell.printed.rstrip()}\n```')
            outputs.append(nbformat.v4.new_output("stream", text=cell.printed))
        for picture in cell.pictures:
            name = f"{path.stem}-{len(pictures) + 1}.png"
            pictures[name] = picture.png
            parts.append(f"![{picture.label}]({name})")
            shown = base64.b64encode(picture.png).decode()
            outputs.append(nbformat.v4.new_output("display_data", {"image/png": shown, "text/plain": picture.label}))
        notebook.cells.append(nbformat.v4.new_code_cell(cell.text, outputs=outputs))
    parts.append(f"[This tutorial as a notebook for Jupyter]({path.stem}.ipynb)")
    return {
        f"{path.stem}.md": "\n\n".join(parts) + "\n",
        f"{path.stem}.ipynb": nbformat.writes(notebook),
        **pictures,
    }
