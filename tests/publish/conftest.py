"""A hub on loopback with an empty cache, which `huggingface_hub` uses in place of the real one."""

from __future__ import annotations

from tests.support.forecast_runs import ENCODER, write_run
from tests.support.hub_server import TOKEN, Hub, serving

import pytest


@pytest.fixture
def hub(tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    with serving(Hub()) as server:
        values = {"ENDPOINT": server.url, "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": True}
        values["HUGGINGFACE_CO_URL_TEMPLATE"] = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        for name, value in values.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        yield server


@pytest.fixture
def run(tmp_path):
    """A run of an untrained model, outside of the working folder."""
    return write_run(tmp_path / "elsewhere" / "mine", ENCODER)


@pytest.fixture
def best(run):
    """The files of the run's checkpoint."""
    return run / "checkpoints" / "best"
