"""The report of an evaluation: one page of HTML that needs no network, no server and no other file."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from convlstm.arguments import check_mapping, check_path
from convlstm.backend import files
from convlstm.backend.own_files import check_own_file
from convlstm.evaluation.lead_times import lead_time
from convlstm.evaluation.scoring import Evaluation
from convlstm.report.map_drawing import HATCH, MISSING
from convlstm.report.page import run_sections, scores
from convlstm.report.page.document import STYLE, document
from convlstm.report.page.ensembles import ensembles
from convlstm.report.page.films import (
    Field,
    Films,
    colour_keys,
    drawn_films,
    film_section,
    films_of,
    pictures,
    scales_of,
)
from convlstm.report.page.frames import colours
from convlstm.report.page.markup import Markup, element
from convlstm.report.page.scales import by_scale
from convlstm.report.rain_scale import RainScale
from convlstm.report.shown_sequences import check_shown, selected
from convlstm.report.style import MISSING as SAND

SCRIPT = Path(__file__).with_name("page.js")
GENERATOR = "convlstm evaluate"
"""The program that wrote a page, as its head names it."""
MARKS = (f'content="{GENERATOR}"', "img-src data:; style-src ")
"""Texts by which a page is recognised, an older one by its policy."""


def write_page(
    path: str | Path,
    result: Evaluation,
    *,
    checkpoints: Mapping[str, Path] | None = None,
    record: Mapping[str, Any] | None = None,
    rain: Any = None,
    fields: Any = None,
    split: str = "test",
) -> None:
    """Writes the scores, the kept sequences as animations, and a description of the runs, as one file of HTML.

    Style, script and pictures are inside the file, and a policy in its head forbids all requests. Sequences are drawn
    pixel by pixel in the colours of the other pictures. Frames with more than 384 pixels a side are shrunk. If the
    frames together take more than 13.5 MB, all of them are shrunk.

    Args:
        path: The file.
        result: The evaluation; its `best`, `worst` and `examples` are shown.
        checkpoints: Folders of the checkpoints behind forecasters, by name. Their runs are described beside the other
            runs in the same folders. Default: none.
        record: The record that `write_scores` was given; "split", "steps" and "data" also appear in the page's text.
            Default: nothing.
        rain: The data if its frames stand for rain: see `films.Field`. Default: none.
        fields: The data if its frames stand for other fields: likewise. Default: none.
        split: Split of the sequences. Default: "test".

    Raises:
        FileExistsError: The file is not from an evaluation.
        ValueError: An argument has another type.
    """
    path = check_path("write_page", "path", path)
    check_shown("write_page", result, rain, fields)
    for name, value in (("record", record), ("checkpoints", checkpoints)):
        check_mapping("write_page", name, {} if value is None else value)
    check_own_file(path, MARKS)
    record = record or {}
    runs = run_sections.runs_of(checkpoints or {})
    physical = None if fields is None else Field(fields, split)
    if rain is not None:
        physical = Field(rain, split, rain.thresholds[result.thresholds.index(result.middle_threshold)])
    sequences = [film for kind, example in selected(result) for film in films_of(kind, example, physical)]
    films = drawn_films(sequences, scales_of(sequences, None if rain is None else rain.units))

    interval = None if physical is None else physical.data.frame_interval
    sections = {
        "scores": ("Scores", scores.means(result)),
        "leads": ("By lead time", scores.by_lead(result, interval)),
        "scales": ("By scale", by_scale(result, rain)),
        "ensemble": ("Ensemble", ensembles(result, interval)),
        "forecasts": ("Forecasts", _forecasts(result, films)),
        "training": ("Training", run_sections.training(runs)),
        "runs": ("Runs and configuration", _runs(runs, record)),
    }
    filled = {key: (title, parts) for key, (title, parts) in sections.items() if parts}
    names = list(runs) if len(runs) != 1 else [next(iter(runs.values())).folder.resolve().name]
    title = "Forecasts of " + ", ".join(names or [next(iter(result.scores))])
    files.replace(path, _document(title, _summary(result, record, split, interval, fields), filled, films))


def _summary(result: Evaluation, record: Mapping[str, Any], split: str, interval: float | None, fields: Any) -> str:
    data = record.get("data") or {}
    sequences = "1 sequence" if result.sequences == 1 else f"{result.sequences:,} sequences"
    leads = "1 frame" if result.horizon == 1 else f"{result.horizon} frames"
    least = min(result.coverage.values())
    until = "" if interval is None else f" ({lead_time(result.horizon, interval)})"
    words = [f"{sequences} of split {record.get('split', split)}, {leads} ahead{until}"]
    words += [] if fields is None else ["fields: " + ", ".join(_described(field) for field in fields.target_fields)]
    words += [f"data: {data['name']}"] if "name" in data else []
    words += [f"{least:.1%} of the pixels scored"] if least < 1 else []
    when = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return "; ".join(words) + f". Written {when}."


def _described(field: Any) -> str:
    """Returns description, name and units of a field."""
    return f"{field.long_name} ({field.name}, {field.units})" if field.long_name else f"{field.name} ({field.units})"


def _forecasts(result: Evaluation, films: Films) -> list[Markup]:
    if not films.films:
        return []
    first = next(iter(result.scores))
    film = films.films[0]
    metric = film.metric + (f" of {film.shown.name}" if film.shown.name else "")
    note = f"Best and worst are those of {first} by {metric}, among all scored sequences."
    if not result.best:
        note = "Chosen sequences."
    note += " The score of a frame is shown above it."
    if films.times > 1:
        note += f" Frames are shown at up to 1/{films.times} of their size."
    return [
        element("p", note, class_="note"),
        *colour_keys(films),
        element("noscript", element("p", "Without JavaScript only the first lead time is shown.")),
        *(film_section(films, n) for n in range(len(films.films))),
    ]


def _runs(runs: Mapping[str, Any], record: Mapping[str, Any]) -> list[Markup]:
    steps = record.get("steps") or {}
    settings = run_sections.settings(record)
    parts = [run_sections.facts(runs, steps), *([] if settings is None else [settings])]
    if not runs:
        return parts
    return [*run_sections.beside_others(runs, run_sections.others_of(runs)), *parts, run_sections.configurations(runs)]


def _document(title: str, summary: str, sections: Mapping[str, tuple[str, list[Markup]]], films: Films) -> str:
    links = [element("li", element("a", name, href=f"#{key}")) for key, (name, _) in sections.items()]
    body = [
        element(
            "header",
            element("h1", title),
            element("p", summary, class_="note"),
            element("nav", element("ul", links), aria_label="Sections"),
        ),
        element(
            "main",
            [
                element("section", element("h2", name, id=f"{key}-head"), parts, id=key, aria_labelledby=f"{key}-head")
                for key, (name, parts) in sections.items()
            ],
        ),
        pictures(films) if films.films else None,
    ]
    style = STYLE.read_text(encoding="utf-8") + _palette(films)
    script = SCRIPT.read_text(encoding="utf-8")
    return document(title, body, generator=GENERATOR, style=style, scripts=[script])


def _palette(films: Films) -> str:
    """Returns the styles of the colours of classes and of missing pixels."""
    rules = [f".sand {{ background: {SAND}; }}"]
    rules.append(f".hatched {{ background: repeating-linear-gradient(135deg, {HATCH} 0 2px, {MISSING} 2px 6px); }}")
    for scale in films.scales.values():
        if isinstance(scale, RainScale):
            rules += [f".r{k} {{ background: {colour}; }}" for k, colour in enumerate(colours(scale)[:-2])]
    return "\n".join(["", *rules, ""])
