"""The data of a run that is resumed: they must be the same, whatever earlier versions said about them."""

from pathlib import Path

from convlstm.runs.resume import ResumeError, check_same_data

import pytest


def record(units="K", **said):
    field = {"name": "t", "units": units, **said}
    return {"archives": {"a.nc": {"fields": [field], "sha256": "1"}}, "channels": {"fields": [{"field": field}]}}


@pytest.fixture
def former(monkeypatch):
    monkeypatch.setattr("convlstm.checkpoints.read_state", lambda _: {"data": record()})
    return Path("last")


def test_remarks_of_later_versions_are_no_other_data(former):
    check_same_data(former, record(remark="dates of the calendar noleap are read as real ones", minutes=60.0))


def test_other_units_are(former):
    with pytest.raises(ResumeError, match=r"trained on other data:\n  archives.a.nc.fields: .*'K'.* then, .*'degC'"):
        check_same_data(former, record("degC"))
