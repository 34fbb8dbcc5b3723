# %% [markdown]
# # Ensembles and their verification
#
# Rain cannot be foreseen exactly, so an ensemble gives many possible courses. This tutorial forecasts with the trained
# ensemble that comes with the package, `nowcast`, on synthetic radar, and asks of its probabilities what one should ask
# of all probabilities: are they right?

# %%
from convlstm import Forecaster, products
from convlstm.architectures.extrapolation import Extrapolation
from convlstm.datasets.synthetic_radar import SyntheticRadar
from convlstm.datasets.transforms import Reflectivity
from convlstm.metrics import EnsembleMetrics

import matplotlib.pyplot as plt
import numpy as np

# %% [markdown]
# ## Truth and forecasts
#
# Each start has five frames as input, and the next six as truth, ten minutes apart on pixels of 2 km. The model is told
# both. `members` yields one member after the other, in mm/h.

# %%
inputs, leads, minutes = 5, 6, 10
radar = SyntheticRadar(
    96, inputs + leads, step_minutes=minutes, wind=(5, 12), wet_share=(0.2, 0.5)
)
nowcast = Forecaster.load("nowcast")
nowcast.adopt(minutes=minutes, pixel_km=2)
extrapolation = Forecaster(Extrapolation(), Reflectivity())

starts = []
for seed in range(4):
    frames = radar.sample(np.random.default_rng(seed))
    members = np.stack(list(nowcast.members(frames[:inputs], leads)))
    starts.append((frames[inputs:], members, extrapolation(frames[:inputs], leads)))
print("members, lead times, rows, columns:", members.shape)

# %% [markdown]
# ## One start
#
# A member looks like radar; the mean is smooth, since it is an average of many places where the rain may be; the
# probability says where to warn. The streaks at the border are rain that comes in from outside, which nobody knows.
# [products.md](../products.md) says which field is for what.

# %%
truth, members, _ = starts[0]
rain = {
    "truth": truth[2],
    "a member": members[0, 2],
    "another member": members[1, 2],
    "mean": products.mean(members)[2],
    "median": products.median(members)[2],
}
figure, axes = plt.subplots(
    2,
    3,
    num="Rain 30 minutes ahead: truth, members and products",
    figsize=(8.4, 5.6),
    layout="constrained",
)
for panel, (name, field) in zip(axes.flat, rain.items(), strict=False):
    picture = panel.imshow(
        np.where(field >= 0.1, field, np.nan), cmap="viridis", vmin=0, vmax=8
    )
    panel.set_title(name)
figure.colorbar(picture, ax=axes[0], label="mm/h", extend="max")
picture = axes[1, 2].imshow(
    products.probability(members, 2.0)[2], cmap="magma_r", vmin=0, vmax=1
)
axes[1, 2].contour(truth[2] >= 2, [0.5], colors="tab:blue", linewidths=0.8)
axes[1, 2].set_title("probability of 2 mm/h;\nblue: where it came")
figure.colorbar(picture, ax=axes[1], label="probability")
for panel in axes.flat:
    panel.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## Scores
#
# The CRPS compares the whole distribution with the truth. It is in mm/h, lower is better, and for a single forecast it
# is the mean absolute error. So it can be compared with that of the extrapolation.
#
# Spread over error of the mean is 1 if the truth is like one more member, and below 1 if the ensemble is too sure of
# itself. Four starts are far too few for a verdict; [verification.md](../verification.md) shows one on real events.

# %%
metrics = EnsembleMetrics(len(members), thresholds=[0.5, 2.0], rank_from=0.1)
for truth, members, _ in starts:
    metrics.update(
        members[:, None, ..., None], truth[None, ..., None]
    )  # (M, N, T, H, W, C) and (N, T, H, W, C)
scores = metrics.compute()
absolute = np.mean(
    [np.abs(single - truth).mean(axis=(1, 2)) for truth, _, single in starts], axis=0
)
for lead in range(leads):
    crps, ratio = (
        scores[name]["per_lead"][lead] for name in ("crps_mmh", "spread_skill")
    )
    singles = f"extrapolation {absolute[lead]:.3f} mm/h"
    print(
        f"+{minutes * (lead + 1)} min: CRPS {crps:.3f} mm/h, {singles}, spread over error {ratio:.2f}"
    )

# %% [markdown]
# ## Reliability
#
# Of all pixels for which 40 % was forecast, it should rain in 40 %. The points should lie on the diagonal. The
# histogram of ranks asks where the truth lies among the sorted members: flat is right, a U means too little spread.

# %%
table = metrics.reliability()["@2mmh"]
often = table["count"] >= 50  # few pixels say little
ranks = metrics.rank_histogram()
figure, (left, right) = plt.subplots(
    1,
    2,
    num="Reliability diagram and rank histogram of an ensemble",
    figsize=(9, 3.8),
    layout="constrained",
)
left.plot([0, 1], [0, 1], color="0.6", linewidth=1)
left.plot(table["probability"][often], table["observed"][often], marker="o")
left.set(
    xlabel="forecast probability of 2 mm/h or more",
    ylabel="share of pixels where it came",
    aspect="equal",
)
right.bar(range(1, len(ranks) + 1), ranks / ranks.sum())
right.axhline(1 / len(ranks), color="0.4", linewidth=1)
right.set(xlabel="rank of the truth among the members", ylabel="share of pixels")
plt.show()

# %% [markdown]
# ## The same on the command line
#
# ```
# convlstm evaluate ckpt=nowcast data=radar_echo "baselines=[steps,extrapolation]"
# convlstm forecast ckpt=nowcast input=radar horizon=6 "products=[members]" "thresholds=[0.5,2]" out=rain.nc
# ```
#
# The report of the first has reliability diagrams, histograms of ranks and spread by lead time. Without
# `data.archive` it is about the synthetic radar. [ensembles.md](../ensembles.md) has other ways to make ensembles.
