"""The interface of a family: a kind of model that another program trains."""

from __future__ import annotations

from typing import Any, Protocol

from convlstm.convert.layouts import Layout
from convlstm.convert.sources import StateDict

Options = dict[str, Any]


class Family(Protocol):
    """A kind of model that another program trains, and its conversion to our model and back.

    Attributes:
        title: Its usual name.
        dead: Patterns of the names of its parameters that no output depends on.
    """

    title: str
    dead: tuple[str, ...]

    def recognises(self, arrays: StateDict) -> bool:
        """Returns True if arrays look like this family's."""

    def unpack(self, arrays: StateDict) -> StateDict:
        """Returns the arrays after splitting those that hold several of our parameters."""

    def pack(self, arrays: StateDict) -> StateDict:
        """Returns the arrays as the other program has them; the inverse of `unpack`."""

    def describe(self, arrays: StateDict, options: Options) -> dict[str, Any]:
        """Returns the description of our model for these arrays, or raises ConversionError if there is none."""

    def theirs(self, name: str, description: dict[str, Any]) -> tuple[str, Layout]:
        """Returns the other program's name and layout of one of our parameters."""

    def without_use(self, arrays: StateDict) -> StateDict:
        """Returns zeros for the other program's parameters that no output depends on, given all others."""


class OneToOne:
    """A family in which each array is one of our parameters, and every parameter is used."""

    dead: tuple[str, ...] = ()

    def unpack(self, arrays: StateDict) -> StateDict:
        return arrays

    def pack(self, arrays: StateDict) -> StateDict:
        return arrays

    def without_use(self, arrays: StateDict) -> StateDict:
        return {}
