"""The newest frames as a model was trained on such: at the same step, with pixels of the same size."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convlstm.arguments import check_whole
from convlstm.datasets.readers import Grid
from convlstm.datasets.recent import Problem, Recent, Window

import numpy as np

# Shares by which a step and a pixel may differ from training's before it is said.
_STEP, _PIXEL = 0.05, 0.05
# Seconds: more than clocks and time zones differ by.
_AHEAD, _SOON = 24 * 3600, 600


class Latest:
    """The newest frames of an archive, at the step and with the pixels that a model was trained on.

    Where the step of training is a multiple of the archive's, every so manieth frame is taken; where its pixels are a
    multiple of the archive's, so many are averaged. Where they are not, frames are taken as they are, or nearly so,
    with a warning.

    Args:
        path: Folder, file, or Zarr store.
        frames: Frames of a window. Default: 5.
        trained: What is recorded of the training data: ``frame_interval`` in minutes, ``pixel_km``. Default: nothing.
        section: The arguments of :class:`~convlstm.datasets.radar_echo.RadarEcho` in training: ``coarsen`` counts where pixels
            have no size, ``format``, ``reader`` and ``zr`` where they are not given. Default: nothing.
        format: Of the files. Default: ``"auto"``.
        options: Of the reader. Default: those of training, where they fit.
        zr: Of the reflectivity. Default: that of training, or ``(200.0, 1.6)``.
        step: Minutes from frame to frame. Default: as said above.
        coarsen: Side in pixels of the squares that become one pixel. Default: as said above.
        crop: Top, left, height and width in pixels after that. Default: the whole frame.
        patient: As for :class:`~convlstm.datasets.recent.Recent`. Default: ``False``.

    Attributes:
        frames: As given.
        coarsen: In use.
        step: Minutes from frame to frame.

    Raises:
        FileNotFoundError: There is nothing at ``path``.
        ValueError: An argument is refused.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        frames: int | None = None,
        trained: Mapping[str, Any] | None = None,
        section: Mapping[str, Any] | None = None,
        format: str = "auto",
        options: Mapping[str, Any] | None = None,
        zr: Sequence[float] | None = None,
        step: float | None = None,
        coarsen: int | None = None,
        crop: Sequence[int] | None = None,
        patient: bool = False,
    ):
        self.path = Path(path).expanduser()
        self.frames = check_whole("Latest", "frames", 5 if frames is None else frames, 1, None)
        section = section or {}
        trained = trained or {}
        self._interval, self._pixel_km = _positive(trained.get("frame_interval")), _positive(trained.get("pixel_km"))
        self._squares = section.get("coarsen") or 1
        self._given_step, self._given_coarsen = step, coarsen
        self._crop = None if crop is None else [int(n) for n in crop]
        zr = (section.get("zr") or (200.0, 1.6)) if zr is None else zr
        settings: dict[str, Any] = {"zr": zr, "patient": patient, "depth": max(32, 6 * self.frames)}
        trained_with = section.get("reader") if options is None and format in ("auto", section.get("format")) else None
        self._recent = Recent(self.path, format=format, options=options or trained_with, **settings)
        self._said: set[str] = set()

    @property
    def times(self) -> np.ndarray:
        """Times of the known frames, rising, datetime64[s] of (F,).

        Those that are more than a day ahead of this machine's clock are left out, unless all are.
        """
        times = self._recent.times
        past = times[times <= np.datetime64(int(time.time()) + _AHEAD, "s")]
        return past if len(past) else times

    @property
    def units(self) -> str:
        """Of the frames: ``"mm/h"`` or ``"raw"``."""
        return self._recent.units

    @property
    def grid(self) -> Grid:
        """As in the files.

        Raises:
            ValueError: No frame is known yet.
        """
        if self._recent.grid is None:
            raise ValueError(f"[Latest] no frame of {self.path} is known yet. Look first.")
        return self._recent.grid

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames in the files."""
        return self.grid.shape

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of the frames of a window."""
        _, _, height, width = self._cropped()
        return height, width

    @property
    def step(self) -> float:
        """Minutes from frame to frame: the given one, else training's where the archive has it, else the archive's."""
        if self._given_step is not None:
            return float(self._given_step)
        own = self._recent.step
        if self._interval is None:
            if math.isnan(own):
                raise ValueError(
                    f"[Latest] a single frame of {self.path} is known, and no step: it takes two. Say it: step=MINUTES."
                )
            return own
        if math.isnan(own) or _times(self._interval, own, _STEP):
            return self._interval
        self._say(
            f"the frames are {own:g} min apart, but the model was trained on steps of {self._interval:g} min: what it "
            "learnt of how rain moves and changes does not hold"
        )
        return own

    @property
    def coarsen(self) -> int:
        """Side in pixels of the squares that are averaged to one."""
        if self._given_coarsen is not None:
            return int(self._given_coarsen)
        own = self.pixel_km
        if own is None or self._pixel_km is None:
            if self._pixel_km is not None:
                self._say(
                    f"the size of the pixels is not known, but the model was trained on pixels of {self._pixel_km:g} km"
                )
            return int(self._squares)
        squares = _times(self._pixel_km, own, _PIXEL)
        if squares is None:
            squares = max(1, round(self._pixel_km / own))
            self._say(
                f"the pixels are {own * squares:.3g} km wide, but the model was trained on pixels of "
                f"{self._pixel_km:g} km: rain looks larger or smaller to it than it is"
            )
        return squares

    @property
    def pixel_km(self) -> float | None:
        """Side of a pixel in the files in km; None where it is not known, or in degrees."""
        grid = self.grid
        return None if grid.pixel_size is None or grid.pixel_units != "m" else float(np.mean(grid.pixel_size)) / 1000

    def look(self) -> tuple[list[np.datetime64], list[Problem]]:
        """The times of frames that have come since the last look, and what is wrong with files that have."""
        new, problems = self._recent.look()
        if len(times := self.times) == 0:
            return new, problems
        if times[-1] > np.datetime64(int(time.time()) + _SOON, "s"):
            self._say("the newest frame is ahead of this machine's clock: check that the frames' times are in UTC")
        ahead = [moment for moment in new if moment > times[-1]]
        reason = "is more than a day ahead of this machine's clock; left out"
        problems += [Problem(f"the frame of {moment}", reason) for moment in ahead]
        return [moment for moment in new if moment <= times[-1]], problems

    def window(self, until: np.datetime64) -> tuple[Window, list[Problem]]:
        """The frames up to a time, averaged and cropped, and what is wrong with some.

        Raises:
            ValueError: The crop lies outside of the frame.
        """
        window, problems = self._recent.window(self.frames, self.step, until=until, coarsen=self.coarsen)
        top, left, height, width = self._cropped()
        frames = np.ascontiguousarray(window.frames[:, top : top + height, left : left + width])
        return Window(frames, window.times, window.absent), problems

    def extent(self) -> tuple[float, float, float, float] | None:
        """Outer edges (x_min, y_min, x_max, y_max) of the frames of a window; from the north-western corner on where
        the files do not say where they lie; None where pixels have no size."""
        grid = self.grid
        if grid.pixel_size is None:
            return None
        if grid.extent is None:
            dy, dx = grid.pixel_size
            x_min, y_max = 0.0, 0.0
        else:
            x_min, y_min, x_max, y_max = grid.extent
            dy, dx = (y_max - y_min) / grid.shape[0], (x_max - x_min) / grid.shape[1]
        top, left, height, width = self._cropped()
        dy, dx = dy * self.coarsen, dx * self.coarsen
        return x_min + left * dx, y_max - (top + height) * dy, x_min + (left + width) * dx, y_max - top * dy

    def _cropped(self) -> list[int]:
        height, width = (side // self.coarsen for side in self.grid.shape)
        if self._crop is None:
            return [0, 0, height, width]
        top, left, high, wide = self._crop
        if min(top, left) < 0 or min(high, wide) < 1 or top + high > height or left + wide > width:
            raise ValueError(
                f"[Latest] 'crop' must lie within frames of {height}x{width} but got {self._crop}: top, left, height "
                "and width in pixels, after 'coarsen'."
            )
        return self._crop

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            warnings.warn(f"[Latest] {text}.", stacklevel=4)


def _times(whole: float, part: float, tolerance: float) -> int | None:
    """How many parts make a whole, or None where it is no number of them."""
    count = round(whole / part)
    return count if count >= 1 and abs(whole / part / count - 1) <= tolerance else None


def _positive(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) and value > 0 else None
