"""The description of the data that a command prints, in a few lines; checkpoints and evaluations keep all of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def data_lines(record: Mapping[str, Any]) -> list[str]:
    """Returns the description of a data set, from the record that its `describe` returns.

    The first line names the data, the archives with their frames, and a line each the fields and their scales. The last
    line has the sequences. A data set of the user's own may lack any of them.
    """
    lines, fields = [], []
    for name, archive in _sections(record, "archives"):
        lines.append(f"{name}: {_archive(archive)}")
        fields += [_field(field) for field in archive.get("fields") or [] if isinstance(field, Mapping)]
    if "channels" not in record:
        lines += dict.fromkeys(fields)  # archives have most in common
    channels = record.get("channels")
    if isinstance(channels, Mapping):
        targets = channels.get("targets") or []
        for channel in channels.get("fields") or []:
            text = f"{_field(channel['field'])}, scaled from {_scale(channel['scale'])}"
            lines.append(text + ("" if channel["field"]["name"] in targets else ", an input only"))
        for channel in channels.get("static") or []:
            lines.append(f"fixed field {_field(channel['field'])}, scaled from {_scale(channel['scale'])}")
        if channels.get("climatology"):
            lines.append(f"departures from the climatology ({channels['climatology']}) of the training split")
        if channels.get("extras"):
            lines.append(f"further inputs: {', '.join(channels['extras'])}")
    if not lines:
        lines.append(str(record.get("name", "")))
        if "synthetic" in record:
            lines[0] += ", of a synthetic radar"
        if "digits" in record:
            lines[0] += f", digits: {record['digits']}"
        if isinstance(clips := record.get("clips"), Mapping):
            lines[0] += f", {', '.join(f'{count:,} {split}' for split, count in clips.items())} clips"
    return [line for line in (*lines, _sequences(record)) if line]


def print_data(record: Mapping[str, Any]) -> None:
    """Prints the description of a data set behind the word "data", as training and evaluations do."""
    for n, line in enumerate(data_lines(record)):
        print(f"{'' if n else 'data':12}{line}")


def _sections(record: Mapping[str, Any], key: str) -> list[tuple[str, Mapping[str, Any]]]:
    section = record.get(key)
    found = section.items() if isinstance(section, Mapping) else []
    return [(str(name), one) for name, one in found if isinstance(one, Mapping)]


def _archive(archive: Mapping[str, Any]) -> str:
    parts = [f"{archive['frames']:,} frames"] if "frames" in archive else []
    if isinstance(archive.get("grid"), list):
        parts.append(f"{archive['grid'][0]} x {archive['grid'][1]} pixels")
    if archive.get("step_minutes"):
        parts.append(f"every {duration(archive['step_minutes'])}")
    if "first" in archive and "last" in archive:
        parts.append(f"{archive['first'][:16].replace('T', ' ')} to {archive['last'][:16].replace('T', ' ')} UTC")
    if archive.get("missing_share"):
        parts.append(f"{archive['missing_share']:.1%} missing")
    return ", ".join(parts)


def _field(field: Mapping[str, Any]) -> str:
    described = str(field.get("long_name") or str(field.get("standard_name", "")).replace("_", " "))
    name, units = str(field.get("name")), str(field.get("units"))
    made = f" from {field['file_units']}" if field.get("file_units") else ""
    about = f"{described}, " if described and described.lower() != name.replace("_", " ").lower() else ""
    remark = f" ({field['remark']})" if field.get("remark") else ""
    return f"{name}: {about}{units}{made}{remark}"


def _scale(scale: Mapping[str, Any]) -> str:
    numbers = [f"{key} {value:g}" for key, value in scale.items() if isinstance(value, int | float)]
    if scale.get("name") == "Linear" and "minimum" in scale:
        return f"{scale['minimum']:g} to {scale['maximum']:g}"
    return f"{scale.get('name')} ({', '.join(numbers)})"


def _sequences(record: Mapping[str, Any]) -> str:
    parts = []
    sizes = record.get("sequences")
    if isinstance(sizes, Mapping):
        parts.append(", ".join(f"{count:,} {split}" for split, count in sizes.items()) + " sequences")
    if "input_frames" in record and "target_frames" in record:
        parts.append(f"{record['input_frames']} frames in and {record['target_frames']} out")
    shape = record.get("frame_shape")
    if isinstance(shape, list) and len(shape) == 3:
        parts.append(f"{shape[0]} x {shape[1]} pixels" + ("" if shape[2] == 1 else f", {shape[2]} channels"))
    return "; ".join(parts)


def duration(minutes: float) -> str:
    """Returns a time in the unit that suits it: "5 min", "6 h", "30 d"."""
    for unit, length in (("d", 1440), ("h", 60)):
        if minutes >= length and minutes % length == 0:
            return f"{minutes / length:g} {unit}"
    return f"{minutes:g} min"
