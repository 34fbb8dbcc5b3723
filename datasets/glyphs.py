"""Digits drawn from fonts, as a substitute for MNIST without a network."""

from __future__ import annotations

import functools
import importlib.util
import math
import warnings
from pathlib import Path

from convlstm.datasets.kept_digits import kept

import numpy as np

# Fonts that matplotlib ships, as `font.ttf`. Three more are for the test digits only.
_FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralItalic",
    "cmr10",
    "cmss10",
    "cmb10",
    "cmti10",
)
_TEST_FONTS = _FONTS + ("DejaVuSansMono-Oblique", "STIXGeneralBolIta", "cmtt10")


@functools.lru_cache(maxsize=2)
def draw_digits(fonts: str | Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Returns digits drawn from the fonts that matplotlib ships: 5000 for training, 1000 for tests, always the same.

    They vary in font, weight, slant, rotation, width and size. Their position is as in MNIST: scaled to a box of at
    most 20 x 20, placed in 28 x 28 by their centre of mass. Test digits are other variations, some of them in fonts
    that no training digit has. Without some of the fonts the others are used, with a warning: Matplotlib 3.10, the
    newest for Python 3.10, has no `cmti10`. The digits are then others than with all fonts.

    They are kept in the user's cache folder, and drawn once for each version of the fonts and libraries.

    Args:
        fonts: Folder of the `.ttf` files. Default: the folder of the installed matplotlib.

    Returns:
        Training and test digits, (N, 28, 28), uint8, white on black, read-only; the digits 0 to 9 in turn.

    Raises:
        FileNotFoundError: If the folder has none of the fonts.
    """
    folder = _font_folder() if fonts is None else Path(fonts)
    missing = [name for name in _TEST_FONTS if not (folder / f"{name}.ttf").is_file()]
    training, testing = (tuple(n for n in names if n not in missing) for names in (_FONTS, _TEST_FONTS))
    if not training:
        raise FileNotFoundError(
            f"[MovingMNIST] the built-in digits need the fonts that matplotlib ships, but {folder} has none of them. "
            "Reinstall matplotlib, or set data.digits=mnist."
        )
    if missing:
        warnings.warn(
            f"[MovingMNIST] the built-in digits are drawn without {', '.join(missing)}, which this matplotlib lacks. "
            "They differ from those of other installations, and so do scores. For the same digits everywhere, set "
            "data.digits=mnist, or use a matplotlib of version 3.11 or later.",
            stacklevel=3,
        )
    digits = kept(
        [folder / f"{name}.ttf" for name in testing],
        6000,
        lambda: np.concatenate(
            [
                _draw(folder, training, 5000, np.random.default_rng([28, 0])),
                _draw(folder, testing, 1000, np.random.default_rng([28, 1])),
            ]
        ),
    )
    digits.setflags(write=False)
    return digits[:5000], digits[5000:]


def _font_folder() -> Path:
    # matplotlib itself stays unimported: only its files are used.
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            "[MovingMNIST] the built-in digits need the fonts that matplotlib ships, but it is not installed. "
            "Install it, or set data.digits=mnist."
        )
    return Path(spec.submodule_search_locations[0], "mpl-data", "fonts", "ttf")


def _draw(folder: Path, fonts: tuple[str, ...], count: int, rng: np.random.Generator) -> np.ndarray:
    """Returns `count` digits, 0 to 9 in turn: (count, 28, 28), uint8."""
    glyph = functools.cache(functools.partial(_glyph, folder))
    images = np.zeros((count, 28, 28), np.uint8)
    for i in range(count):
        font = fonts[rng.integers(len(fonts))]
        # The holes of bold digits would close if they were bolder.
        weight = int(rng.integers(0, 2 if "Bol" in font or font == "cmb10" else 4))
        images[i] = _place(_distort(glyph(font, str(i % 10), weight), rng), box=int(rng.integers(17, 21)))
    return images


def _glyph(folder: Path, font: str, character: str, weight: int):
    """Returns a white character on a black square of 96 pixels, its lines `weight` pixels thicker on either side."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("L", (96, 96))
    # The basic layout is the same with and without the optional text shaping library.
    typeface = ImageFont.truetype(folder / f"{font}.ttf", 64, layout_engine=ImageFont.Layout.BASIC)
    ImageDraw.Draw(image).text((48, 48), character, 255, typeface, anchor="mm", stroke_width=weight)
    return image


def _distort(image, rng: np.random.Generator):
    """Returns an image turned, slanted and narrowed about its centre."""
    from PIL import Image

    turn = rng.normal(0, math.radians(8))
    slant = rng.normal(0.05, 0.15)
    width, height = rng.uniform(0.8, 1.2, size=2)
    cos, sin = math.cos(turn), math.sin(turn)
    # From a position in the result to one in the source, (x, y) -> (a x + b y, d x + e y), as Pillow expects it.
    a, b = (cos + slant * sin) / width, (slant * cos - sin) / width
    d, e = sin / height, cos / height
    centre = image.width / 2
    matrix = (a, b, centre * (1 - a - b), d, e, centre * (1 - d - e))
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def _place(image, box: int) -> np.ndarray:
    """Returns the drawn part scaled to fit `box` x `box`, with its centre of mass in the middle of 28 x 28."""
    from PIL import Image

    drawn = image.crop(image.getbbox())
    scale = box / max(drawn.size)
    size = [max(1, round(side * scale)) for side in drawn.size]
    small = np.asarray(drawn.resize(size, Image.Resampling.BOX), np.uint8)
    height, width = small.shape
    mass = small.sum(dtype=np.float64)
    y = small.sum(axis=1) @ np.arange(height) / mass
    x = small.sum(axis=0) @ np.arange(width) / mass
    top = min(max(round(13.5 - y), 0), 28 - height)
    left = min(max(round(13.5 - x), 0), 28 - width)
    image = np.zeros((28, 28), np.uint8)
    image[top : top + height, left : left + width] = small
    return image
