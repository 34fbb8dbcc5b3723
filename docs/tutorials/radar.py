# %% [markdown]
# # Radar of your own: from a folder of files to a forecast
#
# This tutorial starts where you probably are: with a folder of radar files. It writes such a folder itself, NetCDF
# files of a synthetic radar, one for each time. With files of your own, leave out the first step. The
# [formats](../radar.md) that can be read are those of most weather services.

# %%
from pathlib import Path

import convlstm
from convlstm import Forecaster
from convlstm.architectures.baselines import Persistence
from convlstm.architectures.extrapolation import Extrapolation
from convlstm.checkpoints.build import build
from convlstm.datasets import RadarEcho
from convlstm.datasets.synthetic_radar import SyntheticRadar
from convlstm.evaluation import evaluate
from convlstm.losses import MeanAbsoluteError
from convlstm.training.loop import Trainer

import matplotlib.pyplot as plt
import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import xarray as xr

# %% [markdown]
# ## A folder of files
#
# Rain rates in mm/h, every five minutes for five hours, on a grid of 2 km. What matters in your files: a time, units,
# and coordinates with units. The standard name says that it is rain.

# %%
rain = SyntheticRadar(64, 60, wind=10, wet_share=0.4).sample(np.random.default_rng(7))
times = np.datetime64("2024-06-01T12:00", "ns") + np.arange(len(rain)) * np.timedelta64(
    5, "m"
)
about = {"units": "mm h-1", "standard_name": "rainfall_rate"}
y, x = 2000.0 * np.arange(64)[::-1], 2000.0 * np.arange(64)
archive = xr.Dataset(
    {"rain": (("time", "y", "x"), rain, about)},
    {"time": times, "y": ("y", y, {"units": "m"}), "x": ("x", x, {"units": "m"})},
)
Path("radar").mkdir()
for time, frame in archive.groupby("time"):
    frame.to_netcdf(
        f"radar/rain_{np.datetime_as_string(time, 'm').replace(':', '')}.nc"
    )
print(
    len(list(Path("radar").iterdir())), "files, such as", min(Path("radar").iterdir())
)

# %% [markdown]
# ## Are the files read?
#
# `open_archive` shows what was understood. It reads only names and headers; the values of a frame are read when they
# are asked for.

# %%
radar = convlstm.open_archive("radar")
print(radar)

# %% [markdown]
# ## A data set
#
# Five frames are the input, the next six the targets. The archive is split by time, not at random: neighbouring frames
# are so much alike that a random split would test what was trained on. Five hours give only a few sequences.

# %%
data = RadarEcho(
    archive="radar",
    input_frames=5,
    target_frames=6,
    split=(0.5, 0.2, 0.3),
    progress=False,
)
print(
    {split: data.size(split) for split in ("train", "validation", "test")},
    data.units,
    data.pixel_km,
    "km",
)

# %% [markdown]
# ## Training
#
# `AdvectionResidual` moves the rain along its motion and learns what motion alone gets wrong. It starts as a plain
# extrapolation, so a few steps are enough to see a small gain. For a real archive take thousands of steps, and the loss
# `balanced`, which does not neglect heavy rain.

# %%
description = {
    "_target_": "convlstm.architectures.advection_residual.AdvectionResidual",
    "hidden_channels": [16],
    "points": 16,
    "matches": False,
}
mx.random.seed(0)
model = build(description)
trainer = Trainer(
    max_steps=24, batch_size=2, max_grad_norm=1.0, validate_every=12, log_every=12
)
trainer.fit(
    model,
    optim.Adam(learning_rate=3e-3),
    MeanAbsoluteError(),
    data,
    "runs/rain",
    {"model": description},
)

# %% [markdown]
# ## Scores
#
# In mm/h, on the last part of the archive, beside two baselines: the last frame repeated, and the last frame moved.

# %%
forecaster = Forecaster.load("runs/rain")
forecasters = {
    "model": forecaster.model,
    "extrapolation": Extrapolation(),
    "persistence": Persistence(),
}
result = evaluate(forecasters, data.stream("test", 8), rain=data, ssim=False)
for name, scores in result.scores.items():
    print(
        f"{name:14} MAE {scores['mae_mmh']['overall']:.3f} mm/h, CSI at 2 mm/h {scores['csi@2mmh']['overall']:.3f}"
    )

# %% [markdown]
# ## A forecast
#
# A forecaster takes the Dataset and returns one, with times, lead times and the coordinates of the input. So forecasts
# and observations subtract without further work. The file that is written is CF NetCDF.

# %%
start = 40
forecast = forecaster(radar.isel(time=slice(start)), horizon=6)
forecast.to_netcdf("forecast.nc")
error = forecast.rain - radar.rain  # on the times that both have
print(
    forecast.rain.sizes,
    error.sizes,
    f"mean absolute error {float(abs(error).mean()):.2f} mm/h",
)

figure, axes = plt.subplots(
    2,
    3,
    num="Rain that was observed and forecast, by lead time",
    figsize=(8.4, 5.2),
    sharex=True,
    sharey=True,
    layout="constrained",
)
for column, lead in zip(axes.T, (1, 3, 5), strict=True):
    observed = radar.rain.isel(time=start + lead)
    for panel, (name, field) in zip(
        column,
        {"observed": observed, "forecast": forecast.rain.isel(time=lead)}.items(),
        strict=True,
    ):
        picture = panel.pcolormesh(
            field.x / 1000,
            field.y / 1000,
            field.where(field >= 0.1),
            cmap="viridis",
            vmin=0,
            vmax=8,
        )
        panel.set(aspect="equal", title=f"{name}, +{5 * (lead + 1)} min")
axes[1, 0].set(xlabel="km", ylabel="km")
figure.colorbar(picture, ax=axes, label="rain rate, mm/h", extend="max")
plt.show()

# %% [markdown]
# ## The same on the command line
#
# ```
# convlstm evaluate model=extrapolation data=radar_echo data.archive=radar "data.split=[0,0,1]"
# convlstm train data=radar_echo data.archive=radar loss=balanced model=advection_residual name=rain
# convlstm evaluate ckpt=runs/rain
# convlstm forecast ckpt=runs/rain input=radar horizon=12 out=forecast.nc
# ```
#
# The first line trains nothing and shows within a minute whether your files are read. `ckpt=nowcast` in the last line
# forecasts without training, by [the ensemble in the package](../nowcast.md). [radar.md](../radar.md) says what is read
# of each format, and [forecast.md](../forecast.md) how to follow a folder.
