from convlstm.datasets.readers import ReadError, make_reader
from tests.support.imerg_files import write_imerg
from tests.support.radar_files import open_file

import h5py
import numpy as np
import pytest


@pytest.mark.parametrize("version", [6, 7])
def test_imerg(tmp_path, version):
    path = write_imerg(tmp_path / "3B-HHR.HDF5", version)
    reader, contents = open_file(path)
    assert reader.format == "imerg"
    assert contents.times.astype(str).tolist() == ["2000-06-01T00:00:00"]
    field = contents.fields[0]
    assert (field.name, field.units) == ("precipitation" if version == 7 else "precipitationCal", "mm/h")
    # Transposed, and the northern row first.
    np.testing.assert_array_equal(reader.read(path, 0), [[2, 5, 8, 11], [1, 4, 7, 10], [np.nan, 3, 6, 9]])
    assert contents.grid.extent == pytest.approx((-180, -90, -179.6, -89.7), abs=1e-4)
    assert contents.grid.dimensions == ("lat", "lon")


def test_another_field(tmp_path):
    path = write_imerg(tmp_path / "3B-HHR.HDF5")
    reader = make_reader("imerg", variable="randomError")
    np.testing.assert_allclose(reader.read(path, 0)[0], [0.2, 0.5, 0.8, 1.1], rtol=1e-6)
    with pytest.raises(ReadError, match=r"\[imerg\] .* has no frames 'rain'"):
        make_reader("imerg", variable="rain").contents(path)
    with h5py.File(tmp_path / "other.h5", "w"), pytest.raises(ReadError, match="imerg"):
        make_reader("imerg").contents(tmp_path / "other.h5")
