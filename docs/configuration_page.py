"""Writes docs/configuration.md from the files in configs/ and their comments: `python docs/configuration_page.py`.

A key without a comment gets the words of the docstring of the class or function that takes it, if that is ours.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

PROJECT = Path(__file__).resolve().parents[1]
CONFIGS = PROJECT / "configs"
PAGE = PROJECT / "docs" / "configuration.md"
WRITES = "python docs/configuration_page.py"
COMMANDS = ("train", "evaluate", "forecast", "summary")
# The groups of train.yaml are listed in its order; these come after them.
LAST = ("experiment",)
# Classes whose arguments are described by another class.
DESCRIBED_BY = {"convlstm.training.loop.Trainer": "convlstm.training.settings.Settings"}

INTRO = f"""# All keys of the configuration

*Made from `configs/` by `{WRITES}`; a change belongs there, not here.*

    convlstm train GROUP=CHOICE KEY=VALUE ...         # loss=mse trainer.max_steps=2000 "model.hidden_channels=[32,32]"
    convlstm train ... --cfg job --resolve            # prints the whole configuration and runs nothing

In a checkout, `python train.py` is the same as `convlstm train`.

A choice of a group is a file, `configs/GROUP/CHOICE.yaml`. A file of your own beside them is a choice as well. `null`
means nothing, and `${{trainer.max_steps}}` is the value of that key. A key that does not exist is an error, which lists
the keys that do. If a key has no description, read the row above it or the choice that its own starts from. The
optimizers are MLX's.
"""


@dataclass(frozen=True)
class Row:
    """A key, its value as written in the file, and the comment above it."""

    key: str
    value: str
    comment: str


class Page:
    """A file of configs/.

    Attributes:
        header: The comment at its top.
        bases: The choices of the same group that it starts from.
        chosen: The choices of other groups that it makes, with the comments above them.
        rows: Its keys except `defaults`, `hydra` and `_target_`.
        targets: The `_target_` of each section, by the prefix of its keys.
    """

    def __init__(self, path: Path):
        text = path.read_text(encoding="utf-8")
        self.path, self._text, self._lines = path, text, text.splitlines()
        self._first = next((n for n, line in enumerate(self._lines) if not line.startswith("#")), len(self._lines))
        self.header = _joined([line for line in self._lines[: self._first] if "@package" not in line])
        self.bases: list[str] = []
        self.chosen: list[Row] = []
        self.targets: dict[str, str] = {}
        settings = yaml.compose(text)
        assert isinstance(settings, yaml.MappingNode), path
        self.rows = list(self._walk(settings, ""))

    def _walk(self, node: yaml.MappingNode, prefix: str) -> Iterator[Row]:
        for name, value in node.value:
            key, comment = f"{prefix}{name.value}", self._comment(name.start_mark.line)
            if key == "defaults":
                self._read_defaults(value)
            elif name.value == "_target_":
                self.targets[prefix] = value.value
            elif key != "hydra":
                yield from self._row(key, value, comment)

    def _row(self, key: str, value: yaml.Node, comment: str) -> Iterator[Row]:
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            if comment:
                yield Row(key, "", comment)
            yield from self._walk(value, f"{key}.")
        elif isinstance(value, yaml.SequenceNode) and not value.flow_style and _has_sections(value):
            for n, item in enumerate(value.value):
                yield from self._walk(item, f"{key}.{n}.")
        else:
            written = self._text[value.start_mark.index : value.end_mark.index]
            if not getattr(value, "flow_style", True):  # lines with a dash
                items = (self._text[item.start_mark.index : item.end_mark.index] for item in value.value)
                written = f"[{', '.join(items)}]"
            yield Row(key, written.strip(), f"{comment} {self._below(value.start_mark.line)}".strip())

    def _read_defaults(self, node: yaml.SequenceNode) -> None:
        for item in node.value:
            if isinstance(item, yaml.ScalarNode):
                self.bases += [] if item.value == "_self_" else [item.value]
                continue
            ((name, value),) = item.value
            group = name.value.removeprefix("override ").lstrip("/")
            if not group.startswith("hydra"):
                written = self._text[value.start_mark.index : value.end_mark.index]
                self.chosen.append(Row(group, written, self._comment(name.start_mark.line)))

    def _comment(self, line: int) -> str:
        above: list[str] = []
        while line > self._first and self._lines[line - 1].strip().startswith("#"):
            line -= 1
            above.insert(0, self._lines[line])
        return _joined(above)

    def _below(self, line: int) -> str:
        """Returns the comment under a key if a blank line separates it from the next key."""
        below: list[str] = []
        for text in self._lines[line + 1 :]:
            if not text.startswith("#"):
                return "" if text else _joined(below)
            below.append(text)
        return _joined(below)


def _has_sections(node: yaml.SequenceNode) -> bool:
    return any(isinstance(item, yaml.MappingNode) and not item.flow_style for item in node.value)


def _joined(comments: list[str]) -> str:
    text = " ".join(line.strip().lstrip("#").strip() for line in comments)
    return f"{text}." if text and text[-1].isalnum() and not text.startswith("convlstm ") else text


def arguments(target: str) -> dict[str, str]:
    """Returns the descriptions of the arguments of a class or function of ours, without their defaults."""
    if not target.startswith("convlstm."):
        return {}
    module, _, name = DESCRIBED_BY.get(target, target).rpartition(".")
    taker = getattr(importlib.import_module(module), name)
    texts = [inspect.getdoc(part) or "" for part in (taker.__mro__ if inspect.isclass(taker) else [taker])]
    descriptions: dict[str, str] = {}
    for text in reversed(texts):
        block = re.search(r"^Args:\n((?:(?: +.*)?\n)+)", text + "\n", re.MULTILINE)
        for names, description in re.findall(
            r"^ {4}(\w+(?:, \w+)*): (.*(?:\n {5,}.*)*)", block[1] if block else "", re.MULTILINE
        ):
            words = re.sub(r"\s*Default: .*$", "", " ".join(description.split())).replace("``", "`")
            words = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", words)
            descriptions |= dict.fromkeys(names.split(", "), words)
    return descriptions


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def descriptions_of(page: Page) -> dict[str, str]:
    """Returns the description of each key of a file and of the files that it starts from."""
    descriptions: dict[str, str] = {}
    for base in page.bases:
        descriptions |= descriptions_of(Page(page.path.with_name(f"{base}.yaml")))
    for prefix, target in page.targets.items():
        descriptions |= {f"{prefix}{name}": text for name, text in arguments(target).items()}
    return descriptions | {row.key: row.comment for row in page.rows if row.comment}


def table(page: Page, prefix: str = "") -> list[str]:
    """Returns the keys of a file as lines of a table; `prefix` is their beginning on the command line."""
    descriptions, lines = descriptions_of(page), []
    for row in page.rows:
        comment = descriptions.get(row.key, "")
        value = f"`{_cell(row.value)}`" if row.value else ""
        lines.append(f"| `{prefix}{row.key}` | {value} | {_cell(comment)} |")
    return ["", "| key | value | |", "|---|---|---|", *lines] if lines else []


def choice(path: Path, group: str) -> list[str]:
    """Returns the lines about a choice of a group."""
    page = Page(path)
    target = page.targets.get("")
    about = [page.header] if page.header else []
    about += [f"The rest is that of {' and '.join(f'`{base}`' for base in page.bases)}."] if page.bases else []
    about += [f"It chooses {', '.join(f'`{row.key}={row.value}`' for row in page.chosen)}."] if page.chosen else []
    about += [f"(`{target}`)"] if target else []
    prefix = "" if group in LAST else f"{group}."
    return ["", f"### `{group}={path.stem}`", "", " ".join(about), *table(page, prefix)]


def render() -> str:
    """Returns the whole page."""
    lines = [INTRO.rstrip()]
    train = Page(CONFIGS / "train.yaml")
    groups = {row.key: row for row in train.chosen}
    names = [*(name for name in groups if name not in LAST), *LAST]
    files = {name: sorted((CONFIGS / name).glob("*.yaml")) for name in names}
    lines += ["", "| group | chosen | choices |", "|---|---|---|"]
    for name in names:
        choices = ", ".join(f"`{path.stem}`" for path in files[name])
        lines.append(f"| [`{name}`](#group-{name}) | `{groups[name].value}` | {choices} |")
    for command in COMMANDS:
        page = Page(CONFIGS / f"{command}.yaml")
        lines += ["", f"## Keys of `convlstm {command}`", "", f"    {page.header}", *table(page)]
    for name in names:
        lines += ["", f"## Group `{name}`"]
        lines += ["", groups[name].comment] if groups[name].comment else []
        for path in files[name]:
            lines += choice(path, name)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    print(f"{PAGE.relative_to(PROJECT)} is written.")
