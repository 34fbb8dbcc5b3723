"""Hypothesis strategies: one key of a valid configuration, changed as a hand that slips changes it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tests.support.configurations import Base, at, bases, has, keys

from hypothesis import strategies as st

REMOVED = object()

TARGETS = (
    *("convlstm.nothing.Nothing", "nowhere.Thing", "builtins.dict", "os.getcwd", "mlx.nn.Linear", "", "nodots", ".."),
    *("convlstm.datasets.moving_mnist.MovingMNIST", "convlstm.losses.MeanSquaredError"),
    "convlstm.models.EncoderForecaster",
)
INTERPOLATIONS = ("${nowhere.to.be.found}", "${", "${oc.env:NOT_SET_ANYWHERE}", "${nonsense:1}", "${model}")
STRANGE = ("ünïcödé 😀", "\u202eabc", "a\0b", "long " * 1000, " ", "a/b\nc")
OTHER_TYPES = ("banana", 3, 2.5, True, [1, 2], {"a": 1})
KINDS = (
    *("wrong type", "null", "negative", "zero", "huge", "not finite", "empty", "nested", "item", "unknown key"),
    *("misspelt key", "misspelt choice", "interpolation", "strange text", "removal"),
)


@dataclass
class Slip:
    """A change of one key of a configuration.

    Attributes:
        kind: Kind of the change: one of `KINDS` or '_target_'.
        key: The dotted key, or the group of a misspelt choice.
        value: The new value. `REMOVED` if the key is left out.
    """

    kind: str
    key: str
    value: Any = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.key} = {'removed' if self.value is REMOVED else repr(self.value)[:80]}"


class Composed(Protocol):
    """A configuration to be changed, such as a `Base`."""

    choices: dict[str, str]

    def compose(self) -> tuple[dict[str, Any], dict[str, Any]]: ...


@st.composite
def slips(draw: st.DrawFn, base: Composed) -> Slip:
    """Draws a slip in a configuration."""
    config, _ = base.compose()
    key = draw(st.sampled_from(list(keys(config))))
    value = at(config, key)
    if key.endswith("_target_") and draw(st.booleans()):
        return Slip("_target_", key, draw(st.sampled_from(TARGETS)))
    kind = draw(st.sampled_from(KINDS))
    if kind == "misspelt choice" and base.choices:
        group, choice = draw(st.sampled_from(list(base.choices.items())))
        return Slip(kind, group, draw(st.sampled_from([choice[:-1], choice + "x", choice.upper(), "nonsense"])))
    if kind in ("unknown key", "misspelt choice"):
        section = key if isinstance(value, dict) else key.rpartition(".")[0]
        return Slip(
            "unknown key",
            f"{section}.nonsense" if section else "nonsense",
            draw(st.sampled_from([1, None, "x", {"a": 1}])),
        )
    if kind == "misspelt key":
        section, dot, name = key.rpartition(".")
        n = draw(st.integers(0, len(name) - 1))
        misspelt = draw(st.sampled_from([name[:n] + name[n + 1 :], name[: n + 1] + name[n:], name + "s"]))
        if misspelt and not has(config, section + dot + misspelt) and not misspelt.startswith("_"):
            return Slip(kind, section + dot + misspelt, value)
        return Slip("null", key)
    if kind == "removal":
        return Slip(kind, key, REMOVED)
    return Slip(kind, key, draw(values(kind, value)))


def values(kind: str, value: Any) -> st.SearchStrategy[Any]:
    """Draws what takes the place of a value."""
    if kind == "wrong type":
        return st.sampled_from([other for other in OTHER_TYPES if type(other) is not type(value)])
    if kind == "negative":
        return st.just(first_replaced(value, lambda v: -abs(v) or -1, -1))
    if kind == "nested":
        return st.just([[value]])
    if kind == "item":
        items = list(value) if isinstance(value, list) else [value, value]
        return st.sampled_from([items[:-1], [*items, *items], [*items[:-1], None], [*items, "banana"]])
    numbers = {
        "zero": st.just(0),
        "huge": st.sampled_from([10**9, 10**18, 1e30]) | st.integers(10**9, 10**30),
        "not finite": st.sampled_from([math.nan, math.inf, -math.inf]),
    }
    if kind in numbers:
        return numbers[kind].map(lambda number: first_replaced(value, lambda _: number, number))
    return {
        "null": st.none(),
        "empty": st.sampled_from(["", [], {}]),
        "interpolation": st.sampled_from(INTERPOLATIONS),
        "strange text": st.sampled_from(STRANGE) | st.text(max_size=20),
    }[kind]


def first_replaced(value: Any, change: Callable[[Any], Any], otherwise: Any) -> Any:
    """Returns the value, or the first item of a list of numbers, changed; `otherwise` if there is no number."""
    if isinstance(value, list) and value and type(value[0]) in (int, float):
        return [change(value[0]), *value[1:]]
    return change(value) if type(value) in (int, float) else otherwise


@dataclass
class Case:
    """A slip in a base, on the command line or in a file."""

    base: Base
    slip: Slip
    in_file: bool = False

    def __str__(self) -> str:
        words = [f"{group}={choice}" for group, choice in self.base.choices.items()]
        words += [f"ckpt={self.base.checkpoint}"] if self.base.checkpoint else []
        return f"{self.base.command} {' '.join(words)} ({'file' if self.in_file else 'line'}) {self.slip}"


@st.composite
def cases(draw: st.DrawFn, command: str) -> Case:
    """Draws a slip in any configuration of a command."""
    base = draw(st.sampled_from([base for base in bases() if base.command == command]))
    slip = draw(slips(base))
    fits_file = command == "train" and slip.value is not REMOVED and slip.kind != "misspelt choice"
    return Case(base, slip, fits_file and draw(st.booleans()))
