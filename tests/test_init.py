"""The names that the package itself offers."""

import convlstm

import pytest

NAMES = ["ConvLSTM", "ConvLSTMCell", "EncoderForecaster", "Forecaster", "load", "members_and_truth", "open_archive"]


@pytest.mark.parametrize("name", NAMES)
def test_the_public_names_are_listed(name):
    assert name in convlstm.__all__
    assert name in dir(convlstm)
    assert getattr(convlstm, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'convlstm' has no attribute 'Conv'"):
        convlstm.Conv  # noqa: B018
