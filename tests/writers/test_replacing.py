"""Earlier forecasts are replaced, other files are left alone, and a failure loses nothing."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from convlstm.writers import FORMATS, format_of, write
from tests.support.project import PROJECT

import numpy as np
import pytest
from PIL import Image


def test_an_earlier_forecast_is_replaced(tmp_path, forecast):
    pytest.importorskip("zarr")
    for name, format in (("f.zarr", None), ("frames", "png"), ("f.npy", None)):
        write(tmp_path / name, forecast, format)
        write(tmp_path / name, replace(forecast, values=forecast.values[:2]), format)
    assert len(list((tmp_path / "frames").iterdir())) == 2
    assert len(np.load(tmp_path / "f.npy")) == 2
    assert not [p.name for p in tmp_path.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("name", ["f.nc", "f.zarr", "f.npy", "f.gif", "frames"])
def test_other_files_are_left_alone(tmp_path, forecast, name, rng):
    """A file of the same kind that is no forecast is not replaced; a forecast and an empty file are."""
    netcdf, zarr = pytest.importorskip("netCDF4"), pytest.importorskip("zarr")
    path, format = tmp_path / name, format_of(name) or "png"
    image = Image.fromarray(rng.integers(0, 255, (8, 8), np.uint8))
    if name == "f.nc":
        netcdf.Dataset(path, "w").close()
    elif name == "f.zarr":
        version = {} if zarr.__version__.startswith("2.") else {"zarr_format": 2}
        zarr.open_group(str(path), mode="w", **version).attrs["source"] = "a radar"
    elif name == "f.npy":
        np.save(path, np.arange(3))
    elif name == "f.gif":
        image.save(path)
    else:
        path.mkdir()
        image.save(path / "frame_01.png")
    before = sorted(p.read_bytes() for p in [path, *path.rglob("*")] if p.is_file())
    with pytest.raises(FileExistsError, match="it is left alone"):
        write(path, forecast, format)
    assert sorted(p.read_bytes() for p in [path, *path.rglob("*")] if p.is_file()) == before
    assert [p.name for p in tmp_path.iterdir()] == [name]
    again = tmp_path / f"again_{name}"
    if path.is_file():
        again.touch()
    write(again, forecast, format)
    write(again, replace(forecast, values=forecast.values[:1]), format)


def test_another_file_in_place_of_the_description_is_left_alone(tmp_path, forecast):
    (tmp_path / "f.json").write_text('{"mine": 1}')
    with pytest.raises(FileExistsError, match="there is a file that is not a forecast's"):
        write(tmp_path / "f.npy", forecast)
    assert [p.name for p in tmp_path.iterdir()] == ["f.json"]
    assert (tmp_path / "f.json").read_text() == '{"mine": 1}'


@pytest.mark.parametrize("name", ["f.npy", "f.zarr"])
def test_a_link_stays_and_its_target_is_replaced(tmp_path, forecast, name):
    pytest.importorskip("zarr")
    (tmp_path / "disk").mkdir()
    real = write(tmp_path / "disk" / name, forecast)
    link = tmp_path / name
    link.symlink_to(real)
    assert write(link, replace(forecast, values=forecast.values[:1])) == link
    assert link.is_symlink()
    if name == "f.npy":
        assert len(np.load(real)) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["disk", name]


def test_an_earlier_folder_stays_if_it_cannot_be_replaced(tmp_path, forecast, monkeypatch):
    path = write(tmp_path / "frames", forecast, "png")
    rename = Path.rename

    def refused(self, target):
        if ".part" in self.name:
            raise OSError(39, "Directory not empty")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(OSError, match="Directory not empty"):
        write(path, replace(forecast, values=forecast.values[:1]), "png")
    assert len(list(path.iterdir())) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["frames"]


def test_a_full_disk_is_an_oserror_that_names_the_file(tmp_path):
    """In a program whose files may not grow. Each format's library has its own error."""
    pytest.importorskip("netCDF4")
    pytest.importorskip("zarr")
    pytest.importorskip("imageio_ffmpeg")
    pytest.importorskip("rasterio")
    program = """
import resource, sys
from pathlib import Path
import numpy as np
from convlstm.writers import FORMATS, Forecast, Place, write
import imageio_ffmpeg, netCDF4, rasterio, zarr
from convlstm.report import forecast_only
values = np.random.default_rng(0).random((2, 96, 96), np.float32)
place = Place.of((96, 96), (0, 0, 9600, 9600), projection="+proj=laea +lat_0=55 +lon_0=10")
made = Forecast(values, "mm/h", issued=np.datetime64("2020-01-01T00:00"), step=5, place=place)
folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (2048, resource.RLIM_INFINITY))
for name, format in FORMATS.items():
    try:
        write(folder / f"f{format.ending}", made, name)
    except OSError as error:
        print(name, error.filename, error.strerror)
print(*folder.iterdir())
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for line, (name, format) in zip(lines, FORMATS.items(), strict=False):
        assert line.startswith(f"{name} {tmp_path}/f{format.ending} "), (line, done.stderr)
    assert "netCDF4 cannot write it" in lines[0]
    assert "the disk may be full" in lines[0]
    assert lines[len(FORMATS) :] == [""]


@pytest.mark.parametrize(("name", "format"), [("mine", "png"), ("mine.zarr", None), ("mine.nc", None)])
def test_a_folder_with_other_things_is_left_alone(tmp_path, forecast, name, format):
    pytest.importorskip("netCDF4")
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="there is a folder with other things in it"):
        write(tmp_path / name, forecast, format)
    assert (tmp_path / name / "thesis.txt").read_text() == "years of work"
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_failure_leaves_the_earlier_forecast(tmp_path, forecast, monkeypatch):
    path = write(tmp_path / "f.npy", forecast)
    before = path.read_bytes()

    def full(file, *_, **__):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space left"):
        write(path, forecast)
    assert path.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"f.npy", "f.json"}


@pytest.mark.parametrize(("name", "format"), [("f.npy", None), ("frames", "png"), ("f.gif", None)])
def test_the_next_forecast_removes_what_a_killed_one_left(tmp_path, forecast, name, format):
    program = """
import os, signal, sys
from pathlib import Path
import numpy as np
from convlstm.writers import Forecast, write
def kill(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)
Path.replace = Path.rename = kill
write(sys.argv[1], Forecast(np.zeros((2, 8, 8), np.float32), ""), sys.argv[2] or None)
"""
    command = [sys.executable, "-c", program, tmp_path / name, format or ""]
    assert subprocess.run(command, cwd=PROJECT, capture_output=True).returncode == -9
    assert [path for path in tmp_path.iterdir() if ".part" in path.name]
    write(tmp_path / name, forecast, format)
    assert not [path for path in tmp_path.iterdir() if ".part" in path.name]
