"""The vocabulary of checks, and that the commands' tables cover their files in configs/."""

import importlib
import math

from convlstm.cli.configuration import CONFIGS
from convlstm.cli.key_checks import (
    FLAG,
    NOT_NEGATIVE,
    NUMBER,
    PACKAGES,
    PATH,
    POSITIVE,
    check,
    either,
    list_of,
    one_of,
    optional,
    whole,
)

import pytest
import yaml


@pytest.mark.parametrize(
    ("values", "accepted", "refused"),
    [
        (FLAG, [True, False], [0, 1, None, "true"]),
        (PATH, ["a", "/a b", 5, "~"], [None, "", " ", True, [], {}, "a\0b"]),
        (whole(2), [2, 1 << 62], [1, 1 << 63, 2.0, True, None, "2"]),
        (whole(2, 3), [2, 3], [1, 4]),
        (NUMBER, [-1, 0.5], [math.inf, math.nan, True, "1", None]),
        (NOT_NEGATIVE, [0, 0.5], [-0.1, math.inf]),
        (POSITIVE, [0.1, 3], [0, -1, math.nan]),
        (one_of("a", "b"), ["a", "b"], ["c", None, ["a"], {}]),
        (list_of(whole(0)), [[], [0, 1]], [[-1], [True], 3, None, (1,)]),
        (list_of(whole(0), least=1), [[0]], [[]]),
        (either(FLAG, whole(1), words=""), [True, 1], [0, None]),
        (optional(whole(1)), [None, 1], [0, "null"]),
        (PACKAGES, [[], ["mine"]], ["mine", [1], None]),
    ],
)
def test_values(values, accepted, refused):
    assert [value for value in accepted if not values.accepts(value)] == []
    assert [value for value in refused if values.accepts(value)] == []


SETTINGS = {"ckpt": None, "input_frames": 10, "horizon": 10, "frame_size": 64, "batch_size": 16, "memory": True}
SETTINGS |= {"trusted": [], "model": {"_target_": "a.B"}}


@pytest.mark.parametrize(
    ("changes", "removed", "text"),
    [
        ({"horizon": 0}, [], "'horizon' must be a whole number from 1 to 20 but got 0."),
        (
            {"horizons": 3},
            [],
            "there is no key 'horizons'. Did you mean 'horizon'?\nKeys: ckpt, input_frames, horizon,",
        ),
        ({}, ["memory"], "'memory' has no value. Give it one: memory=VALUE."),
        ({}, [], None),
    ],
)
def test_a_table_is_checked(changes, removed, text):
    settings = {key: value for key, value in {**SETTINGS, **changes}.items() if key not in removed}
    if text is None:
        check("summary", {"horizon": whole(1, 20)}, settings)
        return
    with pytest.raises(SystemExit) as end:
        check("summary", {"horizon": whole(1, 20)}, settings)
    assert text in str(end.value)


@pytest.mark.parametrize("command", ["train", "evaluate", "forecast", "summary"])
def test_every_key_of_a_command_is_in_its_table(command):
    file = yaml.safe_load((CONFIGS / f"{command}.yaml").read_text(encoding="utf-8"))
    unchecked = {"zr"}  # its reader checks it
    keys = set(importlib.import_module(f"convlstm.cli.{command}").KEYS)
    assert set(file) - {"defaults", "hydra"} - unchecked == {key for key in keys if "." not in key}
