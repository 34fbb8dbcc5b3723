"""Writes the pictures of docs/gallery.md that the tutorials draw: `python docs/gallery_pictures.py`, a minute.

They are kept small: 256 colours, and no wider than a page.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # runs in a checkout without installation, too

from docs.notebooks import TUTORIALS, run

from PIL import Image

FOLDER = Path(__file__).with_name("gallery")
WIDTH = 720


def main() -> None:
    for path in sorted(TUTORIALS.glob("*.py")):
        with tempfile.TemporaryDirectory() as folder:
            pictures = [picture for cell in run(path, Path(folder)) for picture in cell.pictures]
        for number, picture in enumerate(pictures, 1):
            image = Image.open(io.BytesIO(picture.png)).convert("RGB")
            image.thumbnail((WIDTH, WIDTH))
            file = FOLDER / f"{path.stem}-{number}.png"
            image.quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)
            print(f"{file.relative_to(FOLDER.parent)}: {image.width}x{image.height}, {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
