"""A slip in one key of a configuration is refused by its name, or does no harm; tests/support/fuzz.py runs more of them."""

import random
import time

from tests.support.fuzz_bench import REMOVED, Outcome, bench, cases, judged, spelled
from tests.support.fuzz_configs import Base, Corruption, bases, corrupt, groups, has

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser


@pytest.fixture(scope="module")
def place():
    with bench() as place:
        yield place


def failures(place, chosen):
    """What is told of the cases that fail."""
    found = []
    for case in chosen:
        start = time.perf_counter()
        outcome = place.run(case.base, case.corruption, in_file=case.in_file)
        outcome = judged(case.corruption, outcome, time.perf_counter() - start)
        found += [f"{case}\n{outcome.text}"] if outcome.kind == "failed" else []
    return found


def test_slips_are_named_or_do_no_harm(place):
    assert failures(place, cases(40, seed=0)) == []


@pytest.mark.slow
def test_five_hundred_slips_are_named_or_do_no_harm(place):
    assert failures(place, cases(500, seed=0)) == []


@pytest.mark.slow
def test_all_configurations_are_valid_before_a_slip(place):
    refused = [(base, outcome.text) for base in bases() if (outcome := place.run(base)).kind != "accepted"]
    assert refused == []


def test_every_choice_is_among_the_bases():
    chosen = {(group, name) for base in bases() for group, name in base.choices.items()}
    optional = {("logger", name) for name in groups()["logger"]}
    assert {(group, name) for group, names in groups().items() for name in names} - optional <= chosen
    assert {base.door for base in bases()} == {"train", "evaluate"}


def test_the_cases_follow_from_the_seed():
    first, again, other = (list(map(str, cases(20, seed))) for seed in (3, 3, 4))
    assert first == again
    assert first != other
    assert first[:5] == list(map(str, cases(5, 3)))
    assert len({case.corruption.kind for case in cases(300, 0)}) == 16


def test_a_slip_is_at_a_key_of_the_configuration_or_beside_one():

    base = Base("train", {"experiment": "quickstart"})
    config, _ = base.compose()
    for n in range(200):
        slip = corrupt(random.Random(n), base)
        place, _, _ = slip.key.rpartition(".")
        assert slip.kind == "misspelt choice" or not place or has(config, place), slip


@pytest.mark.parametrize(
    ("outcome", "seconds", "kind"),
    [
        (Outcome("refused", "train.py: model.kernel_size: [ConvLSTMCell] 'kernel_size' must be odd"), 1, "refused"),
        (Outcome("refused", "train.py: 'model.kernel_size' must be int"), 1, "refused"),
        (Outcome("refused", "train.py: kernel_size must be odd"), 1, "failed"),
        (Outcome("refused", "train.py: model.kernel_sizes must be odd"), 1, "failed"),
        (Outcome("refused", "train.py: wrong. Given: model.kernel_size=2"), 1, "failed"),
        (Outcome("refused", "Traceback: model.kernel_size"), 1, "failed"),
        (Outcome("accepted", ""), 1, "accepted"),
        (Outcome("accepted", ""), 1000, "failed"),
        (Outcome("failed", "model.kernel_size"), 1, "failed"),
    ],
)
def test_what_is_said_is_judged(outcome, seconds, kind):
    assert judged(Corruption("zero", "model.kernel_size", 0), outcome, seconds).kind == kind


def test_a_fault_inside_fails(place, monkeypatch):
    def broken(*_):
        raise KeyError("inside")

    monkeypatch.setattr("train.check", broken)
    outcome = place.run(Base("train", {}))
    assert outcome.kind == "failed"
    assert "KeyError: 'inside'" in outcome.text


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        -1e30,
        "text",
        'a "quoted" one',
        "back\\slash\\",
        "ünï 😀",
        [1, [None, "a"]],
        {"a": {"b": [1]}},
        "",
    ],
)
def test_values_are_spelled_as_the_command_line_takes_them(value):
    assert OverridesParser.create().parse_override(f"key={spelled(value)}").value() == value


def test_a_key_that_is_removed_is_told(place):
    outcome = place.run(Base("train", {}), Corruption("removal", "seed", REMOVED))
    assert outcome.kind == "refused"
    assert "'seed' has no value. Give it one: seed=VALUE." in outcome.text


def test_a_key_that_only_a_file_can_have_is_told(place):
    outcome = place.run(Base("train", {}), Corruption("misspelt key", "sede", 1), in_file=True)
    assert "there is no key 'sede'. Did you mean 'seed'?" in outcome.text
    outcome = place.run(Base("train", {}), Corruption("nested", "optimizer.betas", {}), in_file=True)
    assert "in 'experiment/fuzz', optimizer.betas must be a list" in outcome.text


def test_what_does_not_fit_into_memory_is_told(place):
    for key, value in (("data.frame_size", 20000), ("model.hidden_channels", [20000])):
        outcome = place.run(Base("train", {}), Corruption("huge", key, value))
        assert outcome.kind == "refused"
        assert key in outcome.text
        assert "of memory" in outcome.text
