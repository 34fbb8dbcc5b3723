# %% [markdown]
# # A field of your own: several variables, their units, NetCDF
#
# Any field on a grid can be forecast. Here it is the temperature of a sea, with the wind above it as a further input
# and land in one corner. Each variable keeps its own units and scale; missing pixels stay missing everywhere.

# %%
from convlstm import Forecaster
from convlstm.architectures.baselines import Persistence, SomeChannels
from convlstm.checkpoints.build import build
from convlstm.datasets import GriddedFields
from convlstm.evaluation import evaluate
from convlstm.losses import MeanSquaredError
from convlstm.training.loop import Trainer
from convlstm.training.schedules import cosine

import matplotlib.pyplot as plt
import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import xarray as xr

# %% [markdown]
# ## A file
#
# Warm water drifts to the east. With a file of your own, leave this step out and put its names below.

# %%
t, lat, lon = np.arange(160), 60 - 0.25 * np.arange(32), -20 + 0.25 * np.arange(32)
phase = 2 * np.pi * (np.arange(32) - 0.8 * t[:, None]) / 16
sst = (
    14
    + 0.2 * np.arange(32)[:, None]
    + 3 * np.sin(phase)[:, None] * np.cos(2 * np.pi * np.arange(32) / 32)[:, None]
)
sst[:, :10, :12] = np.nan  # land
wind = np.broadcast_to(4 * np.sin(2 * np.pi * t / 60)[:, None, None], sst.shape)

xr.Dataset(
    {
        "sst": (
            ("time", "lat", "lon"),
            sst,
            {"units": "degC", "standard_name": "sea_surface_temperature"},
        ),
        "u10": (
            ("time", "lat", "lon"),
            wind,
            {"units": "m s-1", "standard_name": "eastward_wind"},
        ),
    },
    {
        "time": np.datetime64("2024-01-01", "ns") + t * np.timedelta64(3, "h"),
        "lat": ("lat", lat, {"units": "degrees_north"}),
        "lon": ("lon", lon, {"units": "degrees_east"}),
    },
).to_netcdf("ocean.nc")

# %% [markdown]
# ## A data set
#
# Both variables are inputs, the temperature is the target. The scale of each is the range of the training split, and
# the splits follow each other in time. `changes=True` lets the model forecast changes since the last frame, which helps
# if fields change slowly; two further input channels then hold the last frame itself.

# %%
data = GriddedFields(
    archive="ocean.nc",
    variable=["sst", "u10"],
    targets="sst",
    input_frames=4,
    target_frames=4,
    changes=True,
    progress=False,
)
batch = next(iter(data.stream("train", 8)))
print({name: np.shape(values) for name, values in batch.items()})

# %% [markdown]
# ## Training
#
# The model has four input channels and one output channel. The pixels on land count neither in the loss nor in a score.

# %%
description = {
    "_target_": "convlstm.models.EncoderForecaster",
    "in_channels": data.frame_shape[-1],
    "out_channels": 1,
    "hidden_channels": [24],
    "kernel_size": 3,
    "patch_size": 4,
    "output_mean": 0.5,
}
mx.random.seed(0)
model = build(description)
steps = 80
trainer = Trainer(
    max_steps=steps, batch_size=8, max_grad_norm=1.0, validate_every=40, log_every=40
)
trainer.fit(
    model,
    optim.Adam(learning_rate=cosine(1e-2, steps)),
    MeanSquaredError(),
    data,
    "runs/ocean",
    {"model": description},
)

# %% [markdown]
# ## Scores
#
# In degC, by lead time. Frames are three hours apart. The baseline repeats the last frame of the temperature.

# %%
forecaster = Forecaster.load("runs/ocean")
persistence = SomeChannels(Persistence(), data.target_channels)
forecasters = {"model": forecaster.model, "persistence": persistence}
result = evaluate(forecasters, data.stream("test", 16), fields=data, ssim=False)
for name, scores in result.scores.items():
    by_lead = scores["field_rmse[sst degC]"]["per_lead"]
    print(
        f"{name:12} RMSE",
        *(f"+{3 * (n + 1)} h {value:.2f} degC" for n, value in enumerate(by_lead)),
    )

# %% [markdown]
# ## A forecast on the grid of the file
#
# A Dataset goes in, a Dataset comes out: `sst` in degC on the same latitudes and longitudes, NaN on land, with the
# attributes of the file.

# %%
with xr.open_dataset("ocean.nc") as ocean:
    forecast = forecaster(ocean.isel(time=slice(-4)), horizon=4)
    difference = (forecast.sst - ocean.sst).load()  # on the times that both have
forecast.to_netcdf("forecast.nc")
print(
    forecast.sst.attrs["units"],
    dict(difference.sizes),
    f"largest error {float(abs(difference).max()):.1f} degC",
)

figure, axes = plt.subplots(
    1,
    3,
    num="Temperature of a sea: observed, forecast, difference",
    figsize=(11, 3.4),
    layout="constrained",
)
observed = xr.open_dataset("ocean.nc").sst.isel(time=-1).load()
scales = [("RdYlBu_r", 10, 24), ("RdYlBu_r", 10, 24), ("RdBu_r", -2, 2)]
shown = {
    "observed": observed,
    "forecast, +12 h": forecast.sst[-1],
    "forecast - observed": difference[-1],
}
for panel, (name, field), (colours, low, high) in zip(
    axes, shown.items(), scales, strict=True
):
    picture = panel.pcolormesh(
        field.lon, field.lat, field, cmap=colours, vmin=low, vmax=high
    )
    panel.set(title=name, xlabel="longitude, degrees east", facecolor="0.8")
    figure.colorbar(picture, ax=panel, label="degC")
axes[0].set_ylabel("latitude, degrees north")
plt.show()

# %% [markdown]
# ## The same on the command line
#
# ```
# convlstm train experiment=fields data.archive=ocean.nc "data.variable=[sst,u10]" "data.targets=[sst]" name=ocean
# convlstm evaluate ckpt=runs/ocean
# convlstm forecast ckpt=runs/ocean input=ocean.nc horizon=4 out=forecast.nc
# ```
#
# [fields.md](../fields.md) has more: scales, climatologies, land masks, fields that go round the earth, GRIB.
