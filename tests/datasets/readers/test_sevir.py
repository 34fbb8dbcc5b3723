from convlstm.datasets.readers import ReadError, recognise
from tests.support.radar_files import open_file, write_sevir

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")


def vil(events=3, height=4, width=5, frames=4):
    values = np.arange(events * height * width * frames, dtype=np.int64).reshape(events, height, width, frames)
    return (values % 255).astype(np.uint8)


def test_sevir_events_have_their_times_and_numbers(tmp_path):
    values = vil()
    values[1, 3, 2, 1] = 255
    path = write_sevir(tmp_path, values)
    reader, contents = open_file(path)
    assert (reader.format, contents.grid.shape, contents.grid.units) == ("sevir", (4, 5), "raw")
    assert contents.event.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert contents.times[:2].astype(str).tolist() == ["2018-05-01T21:15:00", "2018-05-01T21:20:00"]
    assert str(contents.times[-1]) == "2018-05-03T21:30:00"
    frame = reader.read(path, 5)
    # Row 0 of the file is the southern one.
    assert np.isnan(frame[0, 2])
    expected = values[1, ::-1, :, 1].astype(np.float32)
    np.testing.assert_array_equal(np.nan_to_num(frame, nan=255), expected)


def test_sevir_catalogue_selects_events(tmp_path):
    path = write_sevir(tmp_path, vil(), listed=[2, 0])
    reader, contents = open_file(path)
    assert contents.event.tolist() == [0] * 4 + [2] * 4
    np.testing.assert_array_equal(reader.read(path, 4), vil()[2, ::-1, :, 0])
    with pytest.raises(ReadError, match="has no frame 8"):
        reader.read(path, 8)
    write_sevir(tmp_path, vil(), listed=[1])
    assert reader.contents(path).event.tolist() == [1] * 4, "a catalogue that changes is read again"


def test_sevir_refuses(tmp_path):
    path = write_sevir(tmp_path, vil(), frames=3)
    with pytest.raises(ReadError, match=r"has 3 events of 4 frames, but CATALOG\.csv has an event 0 of 3 frames"):
        open_file(path)
    write_sevir(tmp_path, vil(), listed=[])
    with pytest.raises(ReadError, match=r"is not listed in .*CATALOG\.csv"):
        open_file(path)
    (tmp_path / "CATALOG.csv").unlink()
    assert recognise(path).format == "sevir"
    with pytest.raises(ReadError, match=r"\[sevir\] .* neither beside it nor above it. Put it there"):
        open_file(path)
