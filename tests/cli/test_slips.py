"""A slip in one key of a configuration is refused by its name, or does no harm."""

from __future__ import annotations

from tests.support.commands import Outcome, commands, judged, spelled
from tests.support.configurations import OF_RAIN, Base, bases, groups, has, needs_files
from tests.support.slips import KINDS, REMOVED, Slip, cases, slips

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import find, given, settings
from hypothesis import strategies as st

# A case takes a third of a second.
fewer = settings(max_examples=settings().max_examples // 10)


@pytest.fixture(scope="module")
def bench():
    with commands() as bench:
        yield bench


@pytest.mark.parametrize("command", ["train", "evaluate"])
@fewer
@given(data=st.data())
def test_slips_are_named_or_do_no_harm(command, bench, data):
    outcome = bench.judge(data.draw(cases(command)))
    assert outcome.kind in ("refused", "accepted"), outcome.text


@pytest.mark.slow
@pytest.mark.parametrize("base", bases(), ids=str)
def test_all_configurations_are_valid_before_a_slip(base, bench):
    outcome = bench.run(base)
    assert outcome.kind == "accepted", outcome.text


def test_every_choice_is_among_the_bases():
    chosen = {(group, name) for base in bases() for group, name in base.choices.items()}
    optional = {("logger", name) for name in groups()["logger"]}
    optional |= {("model", name) for name in OF_RAIN}
    optional |= {(group, name) for group, names in groups().items() for name in names if needs_files(group, name)}
    assert {(group, name) for group, names in groups().items() for name in names} - optional <= chosen
    assert {base.command for base in bases()} == {"train", "evaluate"}


@pytest.mark.parametrize("kind", [*KINDS, "_target_"])
def test_every_kind_of_slip_is_drawn(kind):
    find(slips(Base("train", {"experiment": "quickstart"})), lambda slip: slip.kind == kind)


@given(slip=slips(Base("train", {"experiment": "quickstart"})))
def test_a_slip_is_at_a_key_of_the_configuration_or_beside_one(slip):
    config, _ = Base("train", {"experiment": "quickstart"}).compose()
    section = slip.key.rpartition(".")[0]
    assert slip.kind == "misspelt choice" or not section or has(config, section)


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
def test_outcomes_are_judged(outcome, seconds, kind):
    assert judged(Slip("zero", "model.kernel_size", 0), outcome, seconds).kind == kind


def test_a_fault_inside_fails(bench, monkeypatch):
    def broken(*_):
        raise KeyError("inside")

    monkeypatch.setattr("convlstm.cli.train.check", broken)
    outcome = bench.run(Base("train", {}))
    assert outcome.kind == "failed"
    assert "KeyError: 'inside'" in outcome.text


texts = st.text(max_size=20)
leaves = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | texts
spellable = st.recursive(
    leaves,
    lambda items: st.lists(items, max_size=3) | st.dictionaries(st.from_regex(r"[a-z]+", fullmatch=True), items),
    max_leaves=5,
)


@given(value=spellable)
def test_values_are_spelled_as_the_command_line_takes_them(value):
    assert OverridesParser.create().parse_override(f"key={spelled(value)}").value() == value


def test_a_removed_key_is_named(bench):
    outcome = bench.run(Base("train", {}), Slip("removal", "seed", REMOVED))
    assert outcome.kind == "refused"
    assert "'seed' has no value. Give it one: seed=VALUE." in outcome.text


def test_a_slip_that_only_a_file_can_hold_is_named(bench):
    outcome = bench.run(Base("train", {}), Slip("misspelt key", "sede", 1), in_file=True)
    assert "there is no key 'sede'. Did you mean 'seed'?" in outcome.text
    outcome = bench.run(Base("train", {}), Slip("nested", "optimizer.betas", {}), in_file=True)
    assert "in 'experiment/slip', optimizer.betas must be a list" in outcome.text


@pytest.mark.parametrize(("key", "value"), [("data.frame_size", 20000), ("model.hidden_channels", [20000])])
def test_sizes_beyond_the_memory_are_named(key, value, bench):
    outcome = bench.run(Base("train", {}), Slip("huge", key, value))
    assert outcome.kind == "refused"
    assert key in outcome.text
    assert "of memory" in outcome.text
