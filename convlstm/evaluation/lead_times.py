"""The units and the text of lead times."""

from __future__ import annotations

HOUR, DAY = 60, 1440
# Axes of frames some minutes apart count hours if they are longer than this.
_LONGEST_IN_MINUTES = 180


def unit_of(frame_interval: float, longest: float = 0.0) -> tuple[str, int]:
    """Returns the unit of lead times, "min", "h" or "d", and its length in minutes.

    Args:
        frame_interval: Minutes between two frames.
        longest: The longest lead time in minutes, for an axis. Default: the frames alone choose the unit.
    """
    if frame_interval % DAY == 0 or frame_interval > 2 * DAY:
        return "d", DAY
    return ("h", HOUR) if frame_interval >= HOUR or longest > _LONGEST_IN_MINUTES else ("min", 1)


def lead_time(lead: int, frame_interval: float | None) -> str:
    """Returns the heading of a frame: t-2, t-1, t0, +1, +2; or if the interval is known -5 min, now, +6 h, +2 d."""
    if frame_interval is None:
        return f"+{lead}" if lead > 0 else f"t{lead}" if lead else "t0"
    unit, minutes = unit_of(frame_interval)
    return f"{lead * frame_interval / minutes:+.6g} {unit}" if lead else "now"


def lead_times(horizon: int, frame_interval: float | None) -> tuple[list[float], str]:
    """Returns the lead times and their unit: "min", "h" or "d", or "frames" if the interval is unknown."""
    if frame_interval is None:
        return [float(lead) for lead in range(1, horizon + 1)], "frames"
    unit, minutes = unit_of(frame_interval, horizon * frame_interval)
    return [lead * frame_interval / minutes for lead in range(1, horizon + 1)], unit
