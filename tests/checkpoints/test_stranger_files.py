"""Texts and headers in a stranger's checkpoint, none of which is trusted."""

from __future__ import annotations

from convlstm.checkpoints import CheckpointError, load, read_config, restore, seal
from convlstm.models import EncoderForecaster
from tests.support.hostile_checkpoints import HEADERS, TEXTS
from tests.support.strangers import DESCRIPTION, refused, watched

import mlx.optimizers as optim
import pytest
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_configuration_is_plain_values(text, last, secret, marker):
    (last / "config.yaml").write_text(text)
    seal(last)
    refused(secret, lambda: read_config(last), r"config\.yaml' is damaged: ", CheckpointError)
    refused(secret, lambda: load(last), r"config\.yaml' is damaged: ", CheckpointError)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "[" * 100_000, '{"step": 1e400}', '{"step": ' + "9" * 5000 + "}", "\ufeff{}", '{"step": NaN}'],
    ids=range(8),
)
def test_a_state_is_plain_values(text, last, secret):
    (last / "state.json").write_text(text)
    seal(last)
    refused(secret, lambda: load(last), r"state\.json' is damaged: ", CheckpointError)


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors"])
def test_a_header_is_not_believed(file, content, last, secret):
    (last / file).write_bytes(content)
    seal(last)
    refused(secret, lambda: load(last), rf"{file}' is damaged: it", CheckpointError)


def test_text_in_messages_moves_no_cursor(last, secret):
    (last / "model.safetensors").write_bytes(HEADERS["a name that moves the cursor"])
    seal(last)
    with pytest.raises(CheckpointError) as caught:
        load(last)
    assert "\x1b" not in str(caught.value)
    assert r"'\x1b[2Ja'" in str(caught.value)


def test_restore_is_as_careful(last, secret):
    model = EncoderForecaster(**{name: value for name, value in DESCRIPTION.items() if name != "_target_"})
    optimizer = optim.Adam(0.1)
    optimizer.init(model.trainable_parameters())
    assert watched(secret, lambda: restore(last, model, optimizer))["step"] == 0
    (last / "optimizer.safetensors").write_bytes(HEADERS["two negatives"])
    seal(last)
    refused(secret, lambda: restore(last, model, optimizer), r"optimizer\.safetensors' is damaged", CheckpointError)


@pytest.mark.parametrize("file", ["model.safetensors", "state.json", "config.yaml"])
def test_changed_bytes_give_one_of_our_errors(file, last, secret):
    """Changes some bytes of a file and writes matching checksums."""
    content = (last / file).read_bytes()
    header = 8 + int.from_bytes(content[:8], "little") if file == "model.safetensors" else len(content)
    byte = st.sampled_from(b'\x00\xff{}[]",:-!&*09eE.~ \n') | st.integers(0, 255)
    failed = 0

    @given(changes=st.dictionaries(st.integers(0, header - 1), byte, min_size=1, max_size=5))
    def changed_bytes(changes):
        nonlocal failed
        changed = bytearray(content)
        for position, value in changes.items():
            changed[position] = value
        (last / file).write_bytes(changed)
        seal(last)
        try:
            model = watched(secret, lambda: load(last))
        except ValueError:
            failed += 1
        else:
            assert isinstance(model, EncoderForecaster)

    changed_bytes()
    assert failed > 30
