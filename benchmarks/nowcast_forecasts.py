"""The forecasts that `benchmarks.nowcast` compares, in mm/h, with their sums."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks import nowcast_sums, pysteps_side
from benchmarks.nowcast_events import EventData, Start
from benchmarks.nowcast_sums import THRESHOLDS, Sums, ensemble_sums, field_sums
from benchmarks.pysteps_process import Pysteps
from convlstm import checkpoints, products
from convlstm.architectures.extrapolation import Extrapolation
from convlstm.architectures.model_facts import told
from convlstm.architectures.sprog import SPROG
from convlstm.architectures.steps import STEPS

import mlx.core as mx
import numpy as np

PYSTEPS = "1.21"
FIELDS = {"sprog": SPROG(), "extrapolation": Extrapolation()}


class Opponents:
    """The forecasts that a learned ensemble is compared with, as a context.

    'steps' are the members of pysteps' STEPS with the settings of its documentation: its own motion by Lucas-Kanade,
    6 levels, rain from 0.1 mm/h on, nonparametric noise, incremental mask, `bps` errors of the motion. The seed is
    the number of the start. 'sprog' and 'extrapolation' are this project's.

    Args:
        members: Number of members.
        python: The interpreter of an environment with pysteps; None takes this project's STEPS instead.
        cache: Folder in which the sums of each start are kept, or None.

    Raises:
        SystemExit: The interpreter has no pysteps of this version.
    """

    def __init__(self, members: int, python: str | None, cache: Path | None):
        self.members, self._python, self._cache = members, python, cache
        self._process: Pysteps | None = None

    def __enter__(self) -> Opponents:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.__exit__(kind, error, trace)

    def forecasts(self, data: EventData, start: Start) -> dict[str, np.ndarray]:
        """Returns 'steps' (M, T, H, W) and the single forecasts (T, H, W); NaN where there is none."""
        fields = {name: np.array(model(start.inputs, data.leads))[0, ..., 0] for name, model in FIELDS.items()}
        return {"steps": self._steps(data, start)} | {name: data.data.physical(z) for name, z in fields.items()}

    def sums(self, data: EventData, start: Start) -> tuple[dict[str, Sums], np.ndarray]:
        """Returns the sums by forecast, 'steps mean' among them, and where all have a value and count, (T, H, W)."""
        path = None if self._cache is None else self._cache / f"{self._key(data, start)}.npz"
        if path is not None and path.exists():
            with np.load(path) as file:
                stored = dict(file)
            known = np.unpackbits(stored.pop("known"), count=start.known.size).reshape(start.known.shape).astype(bool)
            sums: dict[str, Sums] = {}
            for name, values in stored.items():
                forecast, kind = name.split("/")
                sums.setdefault(forecast, {})[kind] = values
            return sums, known
        forecasts = self.forecasts(data, start)
        members = forecasts.pop("steps")
        known = start.known & np.isfinite(members).all(axis=0)
        for forecast in forecasts.values():
            known &= np.isfinite(forecast)
        sums = {"steps": sums_of(members, start, known, data)}
        fields = forecasts | {"steps mean": products.mean(members)}
        sums |= {name: sums_of(forecast, start, known, data) for name, forecast in fields.items()}
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            flat = {f"{name}/{kind}": values for name, of in sums.items() for kind, values in of.items()}
            part = path.with_suffix(".part.npz")
            np.savez_compressed(part, allow_pickle=False, known=np.packbits(known), **flat)
            part.replace(path)
        return sums, known

    def _steps(self, data: EventData, start: Start) -> np.ndarray:
        if self._python is None:
            model = STEPS(self.members, minutes=data.minutes, pixel_km=data.pixel_km)
            return data.data.physical(np.array(model(start.inputs, data.leads)))[:, 0, ..., 0]
        if self._process is None:
            ask = "from importlib.metadata import version; print(version('pysteps'))"
            answer = subprocess.run([self._python, "-c", ask], capture_output=True, text=True, check=False)
            if not answer.stdout.startswith(f"{PYSTEPS}."):
                found = answer.stdout.strip() or answer.stderr.strip().splitlines()[-1]
                raise SystemExit(f"--python {self._python} must have pysteps {PYSTEPS} but has: {found}.")
            self._process = Pysteps(self._python)
        options = {"n_ens_members": self.members, "kmperpixel": data.pixel_km, "timestep": data.minutes}
        options |= {"seed": start.number}
        return self._process(start.frames, data.leads, ["motion", "steps"], options={"steps": options})["steps"]

    def _key(self, data: EventData, start: Start) -> str:
        """Returns a name made of all that the sums depend on: settings, frames, and the code that makes them."""
        settings = asdict(data.event) | {"minutes": data.minutes, "pixel_km": data.pixel_km, "members": self.members}
        settings |= {"number": start.number, "pysteps": None if self._python is None else PYSTEPS}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for array in (start.frames, start.truth, start.known):
            digest.update(np.ascontiguousarray(array).tobytes())
        for module in (nowcast_sums, pysteps_side):
            digest.update(Path(str(module.__file__)).read_bytes())
        return digest.hexdigest()[:32]


class Learned:
    """A learned ensemble.

    Args:
        path: A run, a checkpoint, or "nowcast".
        members: Number of members.

    Attributes:
        label: The path and the step of the training.

    Raises:
        SystemExit: The model draws no members.
    """

    def __init__(self, path: str, members: int):
        loaded = checkpoints.load_all(path)
        self._model: Any = loaded.model
        if not hasattr(self._model, "size"):
            raise SystemExit(f"--ckpt {path} must be a model that draws members, but is {type(self._model).__name__}.")
        self._model.size = members
        self.label = f"{Path(path).name}, step {loaded.state['step']}"

    def members(self, data: EventData, start: Start) -> np.ndarray:
        """Returns the members, (M, T, H, W) in mm/h."""
        facts = told(self._model, {"minutes": data.minutes, "pixel_km": data.pixel_km})
        members = self._model(start.inputs, data.leads, **facts)
        mx.eval(members)
        return np.stack([data.data.physical(np.array(member)) for member in members])[:, 0, ..., 0]

    def sums(self, data: EventData, start: Start, known: np.ndarray) -> dict[str, Sums]:
        """Returns the sums of the members, 'nowcast', and of their products, such as 'nowcast pmm'."""
        members = self.members(data, start)
        fields = {f"nowcast {name}": products.single(name, members, THRESHOLDS) for name in products.SINGLE}
        every: Mapping[str, np.ndarray] = {"nowcast": members} | fields
        return {name: sums_of(forecast, start, known, data) for name, forecast in every.items()}


def sums_of(forecast: np.ndarray, start: Start, known: np.ndarray, data: EventData) -> Sums:
    """Returns the sums of members (M, T, H, W) or of a single forecast (T, H, W), inside the rim."""
    inside = forecast[data.inner], start.truth[data.inner], known[data.inner]
    if forecast.ndim == 4:
        return ensemble_sums(*inside, data.minutes, data.pixel_km)
    return field_sums(*inside)
