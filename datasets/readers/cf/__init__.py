"""The conventions for climate and forecast metadata (CF), as NetCDF and Zarr files follow them."""
