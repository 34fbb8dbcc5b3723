"""The forecaster: a trained model with its scale. Frames go in and forecasts come out in physical units."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convlstm import checkpoints
from convlstm.architectures.members import draws_members
from convlstm.arguments import check_mapping, check_number, check_whole, check_wholes
from convlstm.backend.blas import warn_if_too_late
from convlstm.checkpoints.build import TRUSTED
from convlstm.checkpoints.finite import check_finite
from convlstm.forecasting.scale import FieldScale, Scale, Unscaled, scale_of
from convlstm.forecasting.tiles import accepted, alignment, folded, tiles, unrolled
from convlstm.gaps import Missing, fill
from convlstm.runs.record import code
from convlstm.runs.summary import RECORD, entries
from convlstm.xarrays.library import is_labelled

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

if TYPE_CHECKING:
    from xarray import DataArray, Dataset

# Frames with more pixels are cut into tiles of this side and overlap by default.
LARGEST, TILE, OVERLAP = 1 << 20, 512, 96
# If the sides of a frame are padded to a multiple of at most this number, the padding repeats the border.
_NARROW = 32
# Facts about the data that a forecast's provenance has.
_FACTS = ("name", "units", "transform", "frame_interval", "pixel_km", "coarsen", "input_frames", "target_frames")


class NotFiniteError(ValueError):
    """A model's forecast has values that are NaN or infinite."""


class Forecaster:
    """A trained model and its scale, called with frames in physical units: `Forecaster.load("runs/mine")(frames)`.

    Frames of any size are padded to the next size that the model takes, and the forecast is cropped again. Large
    frames, and those of a model that takes a single size, are forecast in overlapping tiles, which are blended
    smoothly. (An `AdvectionResidual` estimates the motion on the whole frame, and only its correction is computed in
    tiles. A model without weights is not cut up unless `tile` is given.) The columns of a model with
    `padding='circular'` are never padded: where it does not take their number, and in tiles, they go on over the seam.

    A pixel that is missing in some frames is interpolated in time. A pixel that is missing in all of them counts as 0
    on the model's scale (0.5 for several fields), as in training, and is missing from the forecast.

    Args:
        model: Forecasts (N, T_in, H, W, C) on the model's scale.
        scale: From physical values to the model's and back; `convlstm.datasets.channels.Channels` for fields with
            scales of their own. Default: none, the values are in [0, 1].
        input_frames: Number of frames that a forecast is made from. Default: all that are given.
        horizon: Number of frames to forecast if a call does not give it. Default: 10.
        grid: Height and width of the frames in training, for models that take no others. Default: unknown.
        tile: Side of the tiles in pixels. Default: the whole frame, up to 1024 x 1024 pixels, else 512.
        overlap: Pixels that neighbouring tiles share at least. Default: 96, at most half a tile.
        most_clipped: Largest share of the values of a field that may lie beyond its scale, where they are clipped.
            Default: 0.03.
        record: Facts about the checkpoint. Default: none.

    Attributes:
        units: Units of the physical values, such as "mm/h", or "raw"; "" without a scale.
        frame_interval: Minutes from frame to frame in training, or None.
        pixel_km: Side of a pixel in training in km, or None.
        missing: The missing parts of the last call's frames.
        clipped: The share of their values beyond the scale, by field; only fields with such values.

    Raises:
        ValueError: An argument does not fit.
    """

    def __init__(
        self,
        model: nn.Module,
        scale: Scale | FieldScale | None = None,
        *,
        input_frames: int | None = None,
        horizon: int = 10,
        grid: tuple[int, int] | None = None,
        tile: int | None = None,
        overlap: int | None = None,
        most_clipped: float = 0.03,
        record: Mapping[str, Any] | None = None,
    ):
        for name, value, least in (("input_frames", input_frames, 1), ("tile", tile, 8), ("overlap", overlap, 0)):
            if value is not None:
                check_whole("Forecaster", name, value, least)
        if tile is not None and overlap is not None and overlap > tile // 2:
            raise ValueError(f"[Forecaster] 'overlap' must be at most half of 'tile' ({tile}) but got {overlap}.")
        if scale is not None and not isinstance(scale, Scale | FieldScale):
            raise ValueError(f"[Forecaster] 'scale' must have forward and inverse but got {type(scale).__name__}.")
        if not callable(model):
            raise ValueError(f"[Forecaster] 'model' must be a model but got {model!r}.")
        if grid is not None and (not isinstance(grid, Sequence) or len(check_wholes("Forecaster", "grid", grid)) != 2):
            raise ValueError(f"[Forecaster] 'grid' must be a height and a width but got {grid!r}.")
        check_number("Forecaster", "most_clipped", most_clipped, 0)
        check_mapping("Forecaster", "record", {} if record is None else record)
        self.model, self.scale = model, Unscaled() if scale is None else scale
        self.input_frames, self.horizon = input_frames, check_whole("Forecaster", "horizon", horizon)
        self.grid, self.tile, self.overlap, self.most_clipped = grid, tile, overlap, most_clipped
        self.record = dict(record or {})
        trained = self.record.get("data") or {}
        if isinstance(self.scale, FieldScale):
            self.units = self.scale.target_units()
        else:
            self.units = str(getattr(self.scale, "units", trained.get("units", "")) or "")
        self.frame_interval: float | None = trained.get("frame_interval")
        self.pixel_km: float | None = trained.get("pixel_km")
        self.missing = Missing()
        self.clipped: dict[str, float] = {}

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        scale: Scale | None = None,
        trusted: Sequence[str] = TRUSTED,
        ema: bool | None = None,
        **options: Any,
    ) -> Forecaster:
        """Returns the forecaster of a checkpoint, with the scale and the length of its sequences in training.

        Args:
            path: A run's folder (its best checkpoint is taken), a checkpoint's folder, "nowcast" for the model that
                comes with the package, or "owner/name@revision" for one of the hub.
            scale: Replaces the scale of the checkpoint's data. Default: None.
            trusted: Packages whose classes the checkpoint may name, as in `convlstm.load`. Default: convlstm and
                mlx.nn.
            ema: As in `convlstm.load`. Default: None, averaged weights if there are any.
            **options: `tile`, `overlap`, `most_clipped`, `input_frames` and `horizon` of the class.

        Returns:
            The forecaster; a `convlstm.forecasting.drawn_members.DrawnForecaster` if the model draws members.

        Raises:
            CheckpointError: There is no checkpoint, it is damaged, or it has weights that are not finite.
            UntrustedTargetError: It names something that is not a class of a trusted package.
            ValueError: An option does not fit.
        """
        warn_if_too_late()
        loaded = checkpoints.load_all(path, trusted=trusted, ema=ema)
        folder, model, config, state = loaded.folder, loaded.model, loaded.config, loaded.state
        check_finite(model, folder)
        if cls is Forecaster and draws_members(model):
            from convlstm.forecasting.drawn_members import DrawnForecaster  # a subclass of this class

            return DrawnForecaster.load(folder, scale=scale, trusted=trusted, ema=ema, **options)
        trained, section = _mapping(state.get("data")), _mapping(config.get("data"))
        facts = {**section, **trained}
        settings = {
            "input_frames": _whole(facts.get("input_frames")),
            "horizon": _whole(facts.get("target_frames")) or 10,
            "grid": _grid(facts.get("frame_shape")),
            **{name: value for name, value in options.items() if value is not None},
        }
        record = {
            "checkpoint": checkpoints.name_of(folder),
            "step": state.get("step"),
            "commit": _commit(checkpoints.run_of(folder)),
            "config": config,
            "data": trained,
        }
        maps = checkpoints.read_maps(folder)
        scaling = scale_of(section, trained, loaded.trusted, maps) if scale is None else scale
        return cls(model, scaling, **settings, record=record)

    def __call__(
        self,
        frames: np.ndarray | DataArray | Dataset,
        horizon: int | None = None,
        *,
        times: np.ndarray | None = None,
        degrees: Any = None,
        perturb: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> Any:
        """Returns a forecast of the frames after these.

        Args:
            frames: Physical values, oldest first, (T, H, W), (T, H, W, C) or several sequences (N, T, H, W, C); NaN
                or inf means missing. If there are more than `input_frames`, the last ones are used. Or a DataArray or
                Dataset of xarray, see `convlstm.forecasting.labelled.forecast_of`: the forecast is a Dataset then.
            horizon: Number of frames to forecast. Default: that of the forecaster.
            times: Times of the frames (UTC), datetime64 of (T,) or (N, T), for models that need them. Default: none.
            degrees: `convlstm.datasets.channels.Degrees` of the pixels, likewise. Default: none.
            perturb: Changes the whole frames before the model, on its scale and without gaps, such as a member's
                `Perturbation`. Default: None.

        Returns:
            float32, (horizon, H, W), (horizon, H, W, C) or (N, horizon, H, W, C); NaN if no frame has the pixel.

        Raises:
            ValueError: The frames or the horizon do not fit the model, all pixels are missing, or values lie outside
                [0, 1] and there is no scale.
            NotFiniteError: The model's forecast has values that are NaN or infinite.
        """
        if is_labelled(frames):
            from convlstm.forecasting.labelled import forecast_of  # it knows this class, and needs xarray

            return forecast_of(self, frames, horizon, times=times, degrees=degrees, perturb=perturb)
        try:
            array = np.asarray(frames)
        except ValueError as error:
            raise ValueError(f"[Forecaster] 'frames' must be of one size but got a ragged list: {error}") from error
        if perturb is not None and not callable(perturb):
            raise ValueError(f"[Forecaster] 'perturb' must be a function but got {perturb!r}.")
        x = self._sequences(array)
        x = np.where(np.isposinf(x), np.nan, x) if x.dtype.kind == "f" else x
        steps = check_whole("Forecaster", "horizon", self.horizon if horizon is None else horizon)
        times_of_each = _of_each(times, x)
        self._check_clipped(x, times_of_each)
        reference = None
        if isinstance(self.scale, FieldScale):
            y, self.missing = self.scale.inputs(x, times_of_each, degrees)
            reference = self.scale.reference(x, times_of_each, steps)
        else:
            y, self.missing = fill(self.scale.forward(x).astype(np.float32))
        if self.missing.everything:
            raise ValueError("[Forecaster] 'frames' must have values but got none: all pixels are missing.")
        if self.missing.frames:
            numbers = ", ".join(str(t + 1) for t in self.missing.frames)
            warnings.warn(
                f"[Forecaster] of {y.shape[1]} input frames, these are missing and interpolated in time: {numbers}.",
                stacklevel=2,
            )
        y = y if perturb is None else perturb(y)
        scaled = self._forecast(y, steps)
        if not np.isfinite(scaled).all():
            share = 1 - np.isfinite(scaled).mean()
            raise NotFiniteError(
                f"[Forecaster] the model's forecast is NaN or infinite in {share:.1%} of its pixels. Check the input, "
                "or take another checkpoint."
            )
        never = self.missing.never
        if isinstance(self.scale, FieldScale):
            forecast = self.scale.physical(scaled, reference).astype(np.float32)
            never = self.scale.of_targets(never)
        else:
            forecast = self.scale.inverse(scaled).astype(np.float32)
        if never.any() and never.shape[-1] == forecast.shape[-1]:
            forecast[np.broadcast_to(never[:, None], forecast.shape)] = np.nan
        return forecast if array.ndim == 5 else forecast[0] if array.ndim == 4 else forecast[0, ..., 0]

    def provenance(self) -> dict[str, Any]:
        """Returns the origin of forecasts: checkpoint, step, commits of training and of this code, configuration."""
        present = code()
        changed = " with changes" if present["changed"] else ""
        return {
            **{key: self.record.get(key) for key in ("checkpoint", "step", "config", "commit")},
            "commit_now": None if present["commit"] is None else f"{present['commit']}{changed}",
            "model": type(self.model).__name__,
            "data": {key: value for key, value in (self.record.get("data") or {}).items() if key in _FACTS},
        }

    def _check_clipped(self, x: np.ndarray, times: np.ndarray | None) -> None:
        """Warns of values beyond the scale; raises ValueError if there are too many."""
        if isinstance(self.scale, Unscaled):
            if np.nanmin(x, initial=0) < 0 or np.nanmax(x, initial=1) > 1:
                raise ValueError(
                    "[Forecaster] 'frames' must be in [0, 1], as the model has no scale of its own, but reach from "
                    f"{np.nanmin(x):g} to {np.nanmax(x):g}. Scale them, or pass a scale: scale=..."
                )
            return
        shares: Any
        if isinstance(self.scale, FieldScale):
            shares = self.scale.clipped(x, times)
        else:
            shares = getattr(self.scale, "clipped", lambda _: 0.0)(x)
        shares = shares if isinstance(shares, dict) else {"frames": shares}
        self.clipped = {name: share for name, share in shares.items() if share > 0}
        for name, share in self.clipped.items():
            text = f"[Forecaster] {share:.2%} of the values of '{name}' lie beyond the scale of training"
            if share > self.most_clipped:
                allowed = math.ceil(100 * share) / 100
                raise ValueError(f"{text}. Check their units, or have them clipped: most_clipped={allowed:g}.")
            warnings.warn(f"{text} and are clipped.", stacklevel=3)

    def _sequences(self, frames: np.ndarray) -> np.ndarray:
        """Returns the last `input_frames` of the frames as (N, T, H, W, C)."""
        if frames.ndim not in (3, 4, 5) or 0 in frames.shape or frames.dtype.kind not in "iufb":
            raise ValueError(
                "[Forecaster] 'frames' must be numbers of shape (T, H, W), (T, H, W, C) or (N, T, H, W, C) but got "
                f"{frames.dtype} of {frames.shape}."
            )
        x = frames[None] if frames.ndim == 4 else frames[None, ..., None] if frames.ndim == 3 else frames
        wanted = x.shape[1] if self.input_frames is None else self.input_frames
        if x.shape[1] < wanted:
            raise ValueError(
                f"[Forecaster] 'frames' must be {wanted} or more, as in training, but got {x.shape[1]}. Fill "
                "frames that are missing in between with NaN."
            )
        return x[:, -wanted:]

    def _forecast(self, y: np.ndarray, horizon: int) -> np.ndarray:
        """Returns the forecast (N, horizon, H, W, C) of frames (N, T, H, W, C), both on the model's scale."""
        size, (tile, padded, multiple, pad) = (y.shape[2], y.shape[3]), self._layout(y, horizon)
        y = np.pad(y, [(0, 0), (0, 0), *((0, b - a) for a, b in zip(size, padded, strict=True)), (0, 0)], mode=pad)
        if tile == padded:
            forecast = np.array(self.model(mx.array(y), horizon), np.float32)
        elif hasattr(self.model, "correction"):
            # Motion needs the whole frame; the learned correction is local.
            advected = self.model.advance(mx.array(y), horizon)
            added = self._tiled(lambda *parts: self.model.correction(*parts), (y, np.array(advected)), tile, multiple)
            forecast = np.array(self.model.finish(advected + mx.array(added), advected), np.float32)
        else:
            forecast = self._tiled(lambda part: self.model(part, horizon), (y,), tile, multiple)
        return forecast[:, :, : size[0], : size[1]]

    @property
    def _circular(self) -> bool:
        """True if the model's columns go round."""
        return bool(getattr(self.model, "circular", False))

    def _tiled(
        self, run: Callable[..., mx.array], arrays: tuple[np.ndarray, ...], tile: tuple[int, int], multiple: int
    ) -> np.ndarray:
        """Returns the blended results of `run` on the tiles of (N, T, H, W, C) arrays."""
        size = padded = arrays[0].shape[2:4]
        overlap = self._overlap(tile)
        if self._circular and tile[1] != size[1]:
            arrays = tuple(unrolled(array, tile, overlap, multiple) for array in arrays)
            padded = arrays[0].shape[2:4]
        total, weight = np.zeros(0, np.float32), np.zeros(padded, np.float32)
        for rows, columns, w in tiles(size, tile, overlap, multiple, circular=self._circular):
            part = np.array(run(*(mx.array(array[:, :, rows, columns]) for array in arrays)), np.float32)
            if total.size == 0:
                total = np.zeros((*part.shape[:2], *padded, part.shape[-1]), np.float32)
            total[:, :, rows, columns] += part * w[..., None]
            weight[rows, columns] += w
        total, weight = folded(total, size[1], 3), folded(weight, size[1], 1)
        return total / weight[..., None]

    def _overlap(self, tile: tuple[int, int]) -> int:
        return min(OVERLAP if self.overlap is None else self.overlap, min(tile) // 2)

    def _layout(self, y: np.ndarray, horizon: int) -> tuple[tuple[int, int], tuple[int, int], int, Any]:
        """Returns the sizes of a tile and of the padded frame, the multiple that tiles start at, and the padding."""
        N, T, H, W, C = y.shape

        def takes(size: tuple[int, int]) -> bool:
            try:
                self._check((1, T, *size, C), horizon)
            except ValueError:
                return False
            return True

        accepted_size = accepted((H, W), takes)
        if accepted_size is None:
            if self.grid is None or not takes(self.grid):
                self._check((1, T, H, W, C), horizon)
                raise ValueError(f"[Forecaster] the model takes no frames of {H}x{W}, padded or not.")
            padded = (max(H, self.grid[0]), W if self._circular else max(W, self.grid[1]))
            return self.grid, padded, 1, "constant"
        padded, multiple = accepted_size
        # Narrow padding repeats the border; wide padding is 0, as missing pixels are.
        pad = "edge" if multiple <= _NARROW else "constant"
        if self._circular and padded[1] != W:
            # A tile that reaches over the seam as far as neighbours overlap, else as far as the model takes.
            wide = -(-(W + self._overlap((padded[0], W))) // multiple) * multiple
            padded = (padded[0], wide if takes((padded[0], wide)) else padded[1])
        side = self.tile
        if side is None and padded[0] * padded[1] > LARGEST and tree_flatten(self.model.parameters()):
            side = TILE
        tile = padded
        if side is not None:
            multiple = alignment(padded, takes)
            side = -(-side // multiple) * multiple
            tile = (min(side, padded[0]), min(side, padded[1]))
        return tile, (padded[0], W) if self._circular else padded, multiple, pad

    def _check(self, shape: tuple[int, ...], horizon: int) -> None:
        if hasattr(self.model, "check_input"):
            self.model.check_input(mx.zeros(shape), horizon)  # lazy zeros, never computed


def _of_each(times: np.ndarray | None, frames: np.ndarray) -> np.ndarray | None:
    """Returns the times of the frames (N, T, H, W, C) as (N, T), the last ones if there are more."""
    return None if times is None else np.broadcast_to(np.asarray(times)[..., -frames.shape[1] :], frames.shape[:2])


def _commit(run: Path) -> str | None:
    """Returns the commit that a run was trained with, or None if it is unknown."""
    try:
        starts = entries(run) if (run / RECORD).is_file() else []
        return starts[-1]["code"]["commit"] if starts else None
    except (ValueError, KeyError, TypeError, OSError, json.JSONDecodeError):
        return None


# A checkpoint's files may come from anybody, so its facts can have any type.
def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _whole(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None


def _grid(value: Any) -> tuple[int, int] | None:
    sides = value[:2] if isinstance(value, list) else []
    return (sides[0], sides[1]) if len(sides) == 2 and all(_whole(side) for side in sides) else None
