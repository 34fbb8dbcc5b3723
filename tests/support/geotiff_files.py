"""GeoTIFF files for tests, written by rasterio."""

import numpy as np


def write_geotiff(path, pixels, *, tags=None, band_tags=(), crs="EPSG:3067", turned=False, units=None, **profile):
    """Writes bands (H, W) or (N, H, W) of pixels of 250 m by 500 m; returns the path."""
    import rasterio
    from rasterio.transform import Affine

    bands = np.atleast_3d(pixels) if np.ndim(pixels) == 2 else np.moveaxis(pixels, 0, -1)
    height, width, count = bands.shape
    transform = Affine(250, 0, 100_000, 0, 500, 7_000_000 - 500 * height) if turned else None
    transform = transform or Affine(250, 0, 100_000, 0, -500, 7_000_000)
    about = {"driver": "GTiff", "height": height, "width": width, "count": count, "dtype": bands.dtype}
    with rasterio.open(path, "w", **about, crs=crs, transform=transform, **profile) as file:
        for number in range(count):
            file.write(bands[..., number], number + 1)
        file.update_tags(**(tags or {}))
        for number, more in enumerate(band_tags, 1):
            file.update_tags(number, **more)
        if units:
            file.units = [units] * count
    return path
