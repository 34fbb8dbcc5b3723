"""Small files of each radar format, written as the services write them."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

from convlstm.datasets.readers import Contents, Reader, make_reader, recognise

import numpy as np
from PIL import Image


def open_file(path: Path, format: str = "auto", **options: Any) -> tuple[Reader, Contents]:
    """Returns the reader of a file, recognised if no format is named, and the file's contents."""
    if format == "auto":
        recognised = recognise(path)
        assert recognised is not None, f"{path} is not recognised"
        format = recognised.format
    reader = make_reader(format, **options)
    return reader, reader.contents(path)


def write_knmi(path: Path, pixels: np.ndarray, **changes) -> Path:
    """Writes KNMI's accumulation of 5 minutes that ends at 00:05 on 26 August 2010; `changes` are attributes."""
    import h5py

    attributes = {
        "image_geo_parameter": b"ACCUMULATED_PRECIPITATION_[MM]",
        "calibration_formulas": b"GEO=0.01*PV+0.0",
        "calibration_missing_data": np.array([65535], np.int32),
        "calibration_out_of_image": np.array([65534], np.int32),
        "product_datetime_start": np.array([b"26-AUG-2010;00:00:00.000"]),
        "product_datetime_end": np.array([b"26-AUG-2010;00:05:00.000"]),
        "geo_pixel_size_y": np.array([-1], np.float32),
        "geo_dim_pixel": b"KM,KM",
        "projection_proj4_params": b"+proj=stere +lat_0=90 +lon_0=0.0 +lat_ts=60 +a=6378.137 +b=6356.752 +x_0=0 +y_0=0",
    } | changes
    with h5py.File(path, "w") as file:
        file.create_dataset("image1/image_data", data=pixels, compression="gzip")
        file["image1"].attrs["image_geo_parameter"] = attributes["image_geo_parameter"]
        calibration = file.create_group("image1/calibration").attrs
        for name in ("calibration_formulas", "calibration_missing_data", "calibration_out_of_image"):
            calibration[name] = attributes[name]
        overview = file.create_group("overview").attrs
        for name in ("product_datetime_start", "product_datetime_end"):
            overview[name] = attributes[name]
        geographic = file.create_group("geographic").attrs
        geographic["geo_pixel_size_x"] = np.array([1], np.float32)
        geographic["geo_column_offset"] = np.array([0], np.float32)
        geographic["geo_row_offset"] = np.array([3650], np.float32)
        for name in ("geo_pixel_size_y", "geo_dim_pixel"):
            geographic[name] = attributes[name]
        projection = file.create_group("geographic/map_projection").attrs
        projection["projection_proj4_params"] = attributes["projection_proj4_params"]
    return path


def write_odim(
    path: Path,
    fields: dict[str, np.ndarray],
    *,
    kind: str = "COMP",
    what: dict | None = None,
    where: dict | None = None,
) -> Path:
    """Writes an ODIM composite on OPERA's map, a dataset for each quantity: p / 2 - 32, 255 no data, 0 undetected.

    `what` and `where` are further attributes.
    """
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["Conventions"] = np.bytes_("ODIM_H5/V2_2")
        top = file.create_group("what").attrs
        top["object"], top["date"], top["time"] = np.bytes_(kind), np.bytes_("20240131"), np.bytes_("235500")
        place = file.create_group("where").attrs
        place["projdef"] = np.bytes_("+proj=laea +lat_0=55 +lon_0=10 +x_0=1950000 +y_0=-2100000 +units=m +ellps=WGS84")
        place["xscale"], place["yscale"] = 2000.0, 1000.0
        place["LL_lon"], place["LL_lat"] = -10.434576838640398, 31.746215319325056
        for name, value in (where or {}).items():
            place[name] = value
        for number, (quantity, pixels) in enumerate(fields.items(), 1):
            data = file.create_group(f"dataset{number}/data1")
            data["data"] = pixels
            attributes = {
                "quantity": np.bytes_(quantity),
                "gain": 0.5,
                "offset": -32.0,
                "nodata": 255.0,
                "undetect": 0.0,
            }
            attributes |= {"startdate": np.bytes_("20240131"), "starttime": np.bytes_("234500")}
            attributes |= {"enddate": np.bytes_("20240201"), "endtime": np.bytes_("000000")}
            group = file[f"dataset{number}"].create_group("what")
            for name, value in (attributes | (what or {})).items():
                # Some services write these beside the data, some in the group above.
                (data.require_group("what") if name == "quantity" else group).attrs[name] = value
    return path


def write_sevir(folder: Path, vil: np.ndarray, *, listed: list[int] | None = None, frames: int | None = None) -> Path:
    """Writes SEVIR's file of `vil` (N, H, W, T) in data/vil/2018, and CATALOG.csv with the events in `listed`."""
    import h5py

    path = folder / "data" / "vil" / "2018" / "SEVIR_VIL_STORMEVENTS_2018_0101_0630.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["id"] = np.array([f"S{number}".encode() for number in range(len(vil))])
        file["vil"] = vil
    count = vil.shape[3] if frames is None else frames
    offsets = ":".join(str(5 * frame - 10) for frame in range(count))
    rows = ["id,file_name,file_index,img_type,time_utc,minute_offsets"]
    for index in range(len(vil)) if listed is None else listed:
        for kind in ("vis", "vil"):
            name = f"{kind}/2018/SEVIR_{kind.upper()}_STORMEVENTS_2018_0101_0630.h5"
            rows.append(f"S{index},{name},{index},{kind},2018-05-{index + 1:02d} 21:25:00,{offsets}")
    (folder / "CATALOG.csv").write_text("\n".join(rows) + "\n")
    return path


def write_rainfields(path: Path, pixels: np.ndarray, *, y: np.ndarray | None = None, mode: Any = "NETCDF4") -> Path:
    """Writes the Bureau of Meteorology's accumulation from 00:00 to 00:10 on 31 October 2020, in 1/20 mm."""
    import netCDF4

    height, width = pixels.shape
    y = (height - 1) / 2 * 0.5 - 0.5 * np.arange(height) if y is None else y
    with netCDF4.Dataset(path, "w", format=mode) as file:
        for name, values in (("y", y), ("x", 0.5 * np.arange(width) - (width - 1) / 2 * 0.5)):
            file.createDimension(name, len(values))
            variable = file.createVariable(name, "f8", (name,))
            variable.setncatts({"standard_name": f"projection_{name}_coordinate", "units": "km"})
            variable[:] = values
        for name, seconds in (("start_time", 1604102400), ("valid_time", 1604103000)):
            variable = file.createVariable(name, "i4")
            variable.units = "seconds since 1970-01-01 00:00:00 UTC"
            variable[...] = seconds
        proj = file.createVariable("proj", "i1")
        proj.setncatts({"grid_mapping_name": "albers_conical_equal_area", "standard_parallel": [-26.2, -29.3]})
        proj.setncatts({"longitude_of_central_meridian": 153.24, "latitude_of_projection_origin": -27.7178})
        proj.setncatts({"false_easting": 2.0, "false_northing": 0.0, "semi_major_axis": 6378137.0})
        rain = file.createVariable("precipitation", "i2", ("y", "x"), fill_value=-1)
        rain.setncatts({"units": "kg m-2", "standard_name": "precipitation_amount", "grid_mapping": "proj"})
        rain.setncatts({"scale_factor": 0.05, "add_offset": 0.0})
        rain.set_auto_maskandscale(False)
        rain[:] = pixels
    return path


def write_aqc(path: Path, numbers: np.ndarray, comment: bytes = b"") -> Path:
    """Writes MeteoSwiss's GIF of colour numbers. All 256 must occur, as Pillow leaves out unused colours."""
    height, width = numbers.shape
    image = Image.frombytes("P", (width, height), np.asarray(numbers, np.uint8).tobytes())
    image.putpalette([value for number in range(256) for value in (number, 255 - number, 7 * number % 256)])
    image.save(path, comment=comment)
    return path


FMI_HEADER = """P5
# radar KOR 1 21.6460 60.1280
# obstime 201609281445
# param CorrectedReflectivity
# metersperpixel_x 999.674053
# metersperpixel_y 999.62859
# projection radar {
# type stereographic
# centrallongitude 25
# centrallatitude 90
# truelatitude 60
# bottomleft 18.600000 57.930000
# topright 34.903000 69.005000
# }
"""


def write_fmi(path: Path, pixels: np.ndarray, header: str = FMI_HEADER) -> Path:
    """Writes FMI's composite of 14:45 on 28 September 2016, gzipped if the name ends in .gz."""
    height, width = pixels.shape
    data = f"{header}{width} {height}\n255\n".encode() + np.asarray(pixels, np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_png(path: Path, pixels: np.ndarray) -> Path:
    """Writes a grey PNG of 8 or 16 bits, like the array's dtype."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        Image.fromarray(pixels).save(file, "PNG")
    return path


def write_mask(path: Path, known: np.ndarray) -> Path:
    """Writes HKO-7's mask: a byte for each pixel, packed by zlib."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zlib.compress(np.asarray(known, bool).tobytes()))
    return path
