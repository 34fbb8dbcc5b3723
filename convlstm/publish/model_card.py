"""The model card of a published checkpoint, `README.md`: what it is, its use, data, training, scores and limits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import convlstm
from convlstm.architectures.members import draws_members
from convlstm.backend.plain_files import RefusedFileError, parse_json, read_bytes
from convlstm.metrics.table import score
from convlstm.runs.summary import entries
from convlstm.summary import parameters

import mlx.nn as nn

CARD = "README.md"
_SCORES = Path("evaluation", "metrics.json")
_LONGEST = 1 << 25
# Scores by lead time and threshold can be a hundred; a card shows the first ones.
_MOST_SCORES = 12
_SECTIONS = {"optimizer": "Optimizer", "schedule": "Schedule", "loss": "Loss", "trainer": "Training"}


def model_card(
    repository: str,
    model: nn.Module,
    config: Mapping[str, Any],
    state: Mapping[str, Any],
    run: Path,
    *,
    licence: str | None = None,
    packages: Sequence[str] = (),
) -> str:
    """Returns the text of a card.

    Args:
        repository: "owner/name".
        model: The model.
        config: The published configuration.
        state: The published training state.
        run: The run's folder, for its record and the scores of its evaluation.
        licence: Identifier of the weights' licence. Default: not stated.
        packages: Packages other than this one whose classes the checkpoint names. Default: none.
    """
    data = state.get("data") or {}
    lines = ["---", "library_name: mlx", *([f"license: {_plain(licence)}"] if licence else [])]
    lines += ["tags:", *(f"- {tag}" for tag in _tags(model, data)), "---", ""]
    lines += [f"# {_plain(repository.partition('/')[2])}", ""]
    kind = "an ensemble of forecasts" if draws_members(model) else "a forecast"
    lines += [
        f"A {type(model).__name__} with {parameters(model):,} parameters, trained with convlstm "
        f"{convlstm.__version__} on MLX. From {_count(data, 'input_frames', 'some')} frames it makes {kind} of the "
        "next ones.",
        "",
        "## Use",
        "",
        "```bash",
        "pip install 'convlstm[cpu,hub]'  # on macOS: 'convlstm[hub]'",
        f"convlstm forecast ckpt=hf://{repository} input=FOLDER_OF_FRAMES out=forecast.nc",
        "```",
        "",
        "```python",
        "from convlstm import Forecaster",
        "",
        f'forecast = Forecaster.load("hf://{repository}")(frames)  # (T, H, W) -> (horizon, H, W)',
        "```",
        "",
    ]
    if packages:
        lines += [f"It needs {', '.join(packages)}, and `trusted=[{','.join(packages)}]`.", ""]
    lines += ["## Data", "", *_table(_facts(data)), "", "## Training", "", *_table(_training(config, state, run)), ""]
    lines += ["## Scores", "", *_scores(run), "", "## Limits", "", *(f"- {limit}" for limit in _limits(data)), ""]
    lines += ["## Licence", "", f"{_plain(licence)}." if licence else "Not stated: ask the owner before any use.", ""]
    lines += [
        "The files hold arrays (safetensors), JSON and YAML; no pickle and no code. `optimizer.safetensors` is that of "
        "no training: start from these weights by `init=`.",
    ]
    return "\n".join(lines) + "\n"


def _tags(model: nn.Module, data: Mapping[str, Any]) -> list[str]:
    rain = ["precipitation", "nowcasting", "weather-radar"] if data.get("units") == "mm/h" else []
    return ["mlx", "convlstm", type(model).__name__.lower(), "spatiotemporal-forecasting", *rain]


def _facts(data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    named = {"name": "Data set", "units": "Units", "input_frames": "Input frames", "target_frames": "Frames forecast"}
    named |= {"frame_interval": "Minutes from frame to frame", "pixel_km": "Side of a pixel in km"}
    named |= {"frame_shape": "Size in training", "transform": "Scale", "sequences": "Sequences", "archives": "Archives"}
    for key, words in named.items():
        value = data.get(key)
        if value is not None and value != "":
            yield words, list(value) if key == "archives" and isinstance(value, Mapping) else value


def _training(config: Mapping[str, Any], state: Mapping[str, Any], run: Path) -> Iterator[tuple[str, Any]]:
    yield "Steps", state.get("step")
    trainer = config.get("trainer") or {}
    if state.get("best") is not None:
        yield f"Best {trainer.get('monitor', 'score')} of validation", f"{state['best']:.4g}, step {state['best_step']}"
    if state.get("seconds"):
        yield "Time", f"{state['seconds'] / 3600:.1f} hours"
    for key, words in _SECTIONS.items():
        if isinstance(section := config.get(key), Mapping):
            given = {name: value for name, value in section.items() if name != "_target_" and value is not None}
            yield words, f"{str(section.get('_target_', '')).rpartition('.')[2]} {given}"
    starts = entries(run)
    if starts and isinstance(starts[-1].get("hardware"), dict):
        hardware = starts[-1]["hardware"]
        yield "Machine", ", ".join(str(hardware[key]) for key in ("processor", "cores", "device") if key in hardware)
    if starts and isinstance(starts[-1].get("code"), dict) and starts[-1]["code"].get("commit"):
        yield "Commit of convlstm", starts[-1]["code"]["commit"]


def _scores(run: Path) -> list[str]:
    """Returns the overall scores of the run's evaluation as a table, or a line that says there is none."""
    try:
        document = parse_json(read_bytes(run / _SCORES, _LONGEST))
        forecasters = {name: each["scores"] for name, each in document["forecasters"].items()}
        names = list(dict.fromkeys(name for scores in forecasters.values() for name in scores))[:_MOST_SCORES]
        rows = [
            [f"{score(name).title.format(at='', short='', size='')} ({name})", *_values(name, forecasters.values())]
            for name in names
        ]
        split, count = document["record"]["split"], document["sequences"]
    except FileNotFoundError:
        return ["Not evaluated."]
    except (OSError, RefusedFileError, ValueError, KeyError, TypeError, AttributeError):
        return ["The run's evaluation cannot be read."]
    header = [["score", *forecasters], ["---"] * (1 + len(forecasters))]
    table = ["| " + " | ".join(map(_plain, row)) + " |" for row in header + rows]
    return [f"Over all lead times, {count} sequences of the split `{_plain(split)}`:", "", *table]


def _values(name: str, forecasters: Any) -> list[str]:
    values = [scores.get(name, {}).get("overall") for scores in forecasters]
    return ["" if value is None else f"{value:.4g}" for value in values]


def _limits(data: Mapping[str, Any]) -> Iterator[str]:
    interval, pixel = data.get("frame_interval"), data.get("pixel_km")
    if interval or pixel:
        learnt = [f"{interval:g} minutes a frame"] if interval else []
        learnt += [f"pixels of {pixel:g} km"] if pixel else []
        yield f"It has learnt motion at {' and '.join(learnt)}. At others, fields seem to move at another speed."
    yield "It knows the region, the seasons and the instruments of its data. Score it on yours before you use it."
    yield "Scores on the run's own data say nothing of rare extremes."


def _table(rows: Iterator[tuple[str, Any]]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {_plain(name)} | {_plain(value)} |" for name, value in rows)]


def _count(data: Mapping[str, Any], key: str, otherwise: str) -> str:
    return str(data[key]) if type(data.get(key)) is int else otherwise


def _plain(value: Any) -> str:
    """Returns a value as text that cannot end a cell or a line, nor be markup: it may come from anybody's files."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text[:400].replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[").replace("`", "'")
