"""A wrong value of an argument that a configuration may hold is refused by the argument's name, or does no harm."""

from __future__ import annotations

import re

from convlstm.runs import loggers
from tests.support.project import PROJECT
from tests.support.wrong_values import WRONG, Taker, takers

import pytest


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return takers(tmp_path_factory.mktemp("data"))


# A test for each class would write the data once more for each process.
@pytest.mark.parametrize("share", [3, pytest.param(1, marks=pytest.mark.slow)], ids=["a third", "all"])
def test_wrong_values_are_named_or_do_no_harm(share, found, tmp_path, monkeypatch):
    """Some five thousand values. By default each argument gets a third of them, its neighbours the others."""
    monkeypatch.setattr(loggers, "_library", lambda *_: None)
    faults = []
    for number, (name, taker) in enumerate(found.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)  # a value may become the name of a folder
        for place, argument in enumerate(taker.names):
            given = [(value, taker.fault(argument, value)) for value in WRONG[(number + place) % share :: share]]
            faults += [f"{name}: {argument}={value!r}: {fault}"[:300] for value, fault in given if fault]
    assert not faults, "\n".join(faults)


def test_right_values_are_taken(found, monkeypatch):
    monkeypatch.setattr(loggers, "_library", lambda *_: None)
    for taker in found.values():
        taker.use(taker.build(**taker.valid))


def test_every_class_of_the_configurations_is_tried(found):
    texts = [path.read_text() for path in (PROJECT / "configs").rglob("*.yaml")]
    named = {name for text in texts for name in re.findall(r"_target_: convlstm\.[\w.]+\.(\w+)", text)}
    without_arguments = {"MeanSquaredError", "MeanAbsoluteError", "TensorBoard"}
    assert named - without_arguments <= found.keys()


@pytest.mark.parametrize("error", [ValueError("argument: it is wrong"), ValueError("[Owner] it is"), KeyError("x")])
def test_faults_are_found(error):
    def broken(argument):
        raise error

    assert Taker(broken).fault("argument", 12)


@pytest.mark.parametrize(
    ("build", "name", "value"),
    [(loggers.WandB, "project", 12), (loggers.WandB, "tags", "rain"), (loggers.MLflow, "experiment", None)],
)
def test_loggers_refuse_what_is_no_text_before_they_import_anything(build, name, value):
    with pytest.raises(ValueError, match=rf"\[{build.__name__}\] '{name}' must be a .*text.* but got {value!r}"):
        build(**{name: value})
