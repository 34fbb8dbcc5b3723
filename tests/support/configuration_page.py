"""docs/configuration.md, from the files in configs/ and their comments: `python tests/configuration_page.py` writes it.

A key that has no comment is told of by the docstring of the class or function that takes it, where that is ours.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.project import PROJECT

import yaml

CONFIGS = PROJECT / "configs"
PAGE = PROJECT / "docs" / "configuration.md"
COMMAND = "python tests/configuration_page.py"
DOORS = ("train", "evaluate", "forecast", "summary")
# Those of train.yaml are listed in its order; these come after them.
LAST = ("experiment",)
OURS = ("convlstm.", "datasets.")

INTRO = f"""# All keys of the configuration

*Made from `configs/` by `{COMMAND}`; a change belongs there, not here.*

    python train.py GROUP=CHOICE KEY=VALUE ...        # loss=mse trainer.max_steps=2000 "model.hidden_channels=[32,32]"
    python train.py ... --cfg job --resolve           # prints what would run, and runs nothing

A choice of a group is a file, `configs/GROUP/CHOICE.yaml`; a file of your own beside them is a choice as well. `null`
is nothing, `${{trainer.max_steps}}` the value of that key. A key that does not exist is an error that names those that
do. A key without words is told of in the row above it, in the file that its own starts from, or by its name; the
optimizers are MLX's.
"""


@dataclass(frozen=True)
class Row:
    """A key, its value as the file has it, and what the comment above it says."""

    key: str
    value: str
    comment: str


class Page:
    """A file of configs/.

    Attributes:
        header: What the comment at its top says.
        bases: The choices of the same group that it starts from.
        chosen: The choices of groups that it makes, with the comments above them.
        rows: Its keys, but for `defaults`, `hydra` and `_target_`.
        targets: What is called for the keys that begin so, by that prefix.
    """

    def __init__(self, path: Path):
        text = path.read_text(encoding="utf-8")
        self.path, self._text, self._lines = path, text, text.splitlines()
        self._first = next((n for n, line in enumerate(self._lines) if not line.startswith("#")), len(self._lines))
        self.header = _joined([line for line in self._lines[: self._first] if "@package" not in line])
        self.bases: list[str] = []
        self.chosen: list[Row] = []
        self.targets: dict[str, str] = {}
        self.rows = list(self._walk(yaml.compose(text), ""))

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
        """The comment under a key that a blank line separates from the next one."""
        below = []
        for text in self._lines[line + 1 :]:
            if not text.startswith("#"):
                return "" if text else _joined(below)
            below.append(text)
        return _joined(below)


def _has_sections(node: yaml.SequenceNode) -> bool:
    return any(isinstance(item, yaml.MappingNode) and not item.flow_style for item in node.value)


def _joined(comments: list[str]) -> str:
    text = " ".join(line.strip().lstrip("#").strip() for line in comments)
    return f"{text}." if text and text[-1].isalnum() and "python " not in text[:7] else text


def arguments(target: str) -> dict[str, str]:
    """What the docstring of a class or a function of ours says of its arguments, but for their defaults."""
    if not target.startswith(OURS):
        return {}
    module, _, name = target.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    texts = [inspect.getdoc(one) or "" for one in (found.__mro__ if inspect.isclass(found) else [found])]
    said: dict[str, str] = {}
    for text in reversed(texts):
        block = re.search(r"^Args:\n((?:(?: +.*)?\n)+)", text + "\n", re.MULTILINE)
        for names, what in re.findall(
            r"^ {4}(\w+(?:, \w+)*): (.*(?:\n {5,}.*)*)", block[1] if block else "", re.MULTILINE
        ):
            words = re.sub(r"\s*Default: .*$", "", " ".join(what.split())).replace("``", "`")
            words = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", words)
            said |= dict.fromkeys(names.split(", "), words)
    return said


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def words(page: Page) -> dict[str, str]:
    """What is said of each key that a file has, and of those in the files that it starts from."""
    said: dict[str, str] = {}
    for base in page.bases:
        said |= words(Page(page.path.with_name(f"{base}.yaml")))
    for place, target in page.targets.items():
        said |= {f"{place}{name}": text for name, text in arguments(target).items()}
    return said | {row.key: row.comment for row in page.rows if row.comment}


def table(page: Page, prefix: str = "") -> list[str]:
    """The keys of a file as lines of a table; they begin with `prefix` on the command line."""
    said, lines = words(page), []
    for row in page.rows:
        comment = said.get(row.key, "")
        value = f"`{_cell(row.value)}`" if row.value else ""
        lines.append(f"| `{prefix}{row.key}` | {value} | {_cell(comment)} |")
    return ["", "| key | value | |", "|---|---|---|", *lines] if lines else []


def choice(path: Path, group: str) -> list[str]:
    """The lines about a choice of a group."""
    page = Page(path)
    own = page.targets.get("")
    about = [page.header] if page.header else []
    about += [f"All else is that of {' and '.join(f'`{base}`' for base in page.bases)}."] if page.bases else []
    about += [f"It chooses {', '.join(f'`{row.key}={row.value}`' for row in page.chosen)}."] if page.chosen else []
    about += [f"(`{own}`)"] if own else []
    prefix = "" if group in LAST else f"{group}."
    return ["", f"### `{group}={path.stem}`", "", " ".join(about), *table(page, prefix)]


def render() -> str:
    """The whole page."""
    lines = [INTRO.rstrip()]
    train = Page(CONFIGS / "train.yaml")
    groups = {row.key: row for row in train.chosen}
    names = [*(name for name in groups if name not in LAST), *LAST]
    files = {name: sorted((CONFIGS / name).glob("*.yaml")) for name in names}
    lines += ["", "| group | chosen | choices |", "|---|---|---|"]
    for name in names:
        choices = ", ".join(f"`{path.stem}`" for path in files[name])
        lines.append(f"| [`{name}`](#group-{name}) | `{groups[name].value}` | {choices} |")
    for door in DOORS:
        page = Page(CONFIGS / f"{door}.yaml")
        lines += ["", f"## Keys of `{door}.py`", "", f"    {page.header}", *table(page)]
    for name in names:
        lines += ["", f"## Group `{name}`"]
        lines += ["", groups[name].comment] if groups[name].comment else []
        for path in files[name]:
            lines += choice(path, name)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.path.insert(0, str(PROJECT))
    PAGE.write_text(render(), encoding="utf-8")
    print(f"{PAGE.relative_to(PROJECT)} is written.")
