# %% [markdown]
# # Moving digits: train, score, forecast
#
# A digit moves over a small frame and bounces off the edges. The model sees five frames and forecasts the next five.
# This is the usual first example of the field, Moving-MNIST, made so small that it takes less than a minute. Nothing is
# downloaded: the digits are drawn from fonts.
#
# `convlstm` is imported before `mlx`, since it loads a fast BLAS on Linux CPUs.

# %%
from convlstm import Forecaster
from convlstm.architectures.baselines import Persistence
from convlstm.checkpoints.build import build
from convlstm.datasets import MovingMNIST
from convlstm.evaluation import evaluate, table
from convlstm.losses import BinaryCrossEntropy
from convlstm.training.loop import Trainer
from convlstm.training.schedules import cosine

import matplotlib.pyplot as plt
import mlx.core as mx
import mlx.optimizers as optim

# %% [markdown]
# ## Data
#
# A data set has three splits. Each is a stream of batches; a batch has `inputs` and `targets` of shape (N, T, H, W, C),
# with values from 0 to 1. Training sequences are new in every epoch, those of validation and test are always the same.

# %%
data = MovingMNIST(
    digits="builtin",
    frame_size=32,
    digit_size=14,
    num_digits=1,
    input_frames=5,
    target_frames=5,
    validation_sequences=32,
    test_sequences=32,
)
batch = next(iter(data.stream("train", 8)))
print({name: values.shape for name, values in batch.items()})

# %% [markdown]
# ## Model
#
# An encoder-forecaster: ConvLSTM layers read the inputs, others write the forecast. The model is described by a dict
# instead of built directly. Checkpoints keep the description, so that `Forecaster.load` can build the model again.
# `next_frame_weight` lets the model also predict its own inputs, and `output_mean` starts it from the mean of the data;
# both save many steps.

# %%
description = {
    "_target_": "convlstm.models.EncoderForecaster",
    "in_channels": 1,
    "hidden_channels": [24],
    "kernel_size": 3,
    "patch_size": 4,
    "next_frame_weight": 1.0,
    "output_mean": 0.05,
}
mx.random.seed(0)
model = build(description)

# %% [markdown]
# ## Training
#
# `fit` writes a run to a folder: the checkpoints `best` and `last`, and `metrics.csv`. Ctrl-C ends it in good order,
# and `resume=True` continues it.

# %%
steps = 120
trainer = Trainer(
    max_steps=steps, batch_size=8, max_grad_norm=1.0, validate_every=60, log_every=60
)
optimizer = optim.Adam(learning_rate=cosine(1e-2, steps))
trainer.fit(
    model, optimizer, BinaryCrossEntropy(), data, "runs/digits", {"model": description}
)

# %% [markdown]
# ## Scores
#
# The test split has digits that training has never seen. The baseline repeats the last frame. A model that has learned
# something has the lower error.

# %%
forecaster = Forecaster.load("runs/digits")
result = evaluate(
    {"model": forecaster.model, "persistence": Persistence()}, data.stream("test", 32)
)
print(table(result))

# %% [markdown]
# ## A forecast
#
# A forecaster takes NumPy arrays (T, H, W) of any size and returns as many frames as you ask for. After so few steps
# the place of the digit is about right at first, and its shape is lost: the longer the lead time, the less sure is the
# model, and the fainter the forecast. The quickstart, `make train`, trains for three minutes, and its digits can be
# read.

# %%
test = next(iter(data.stream("test", 4)))
inputs, truth = (test[name][2, ..., 0] for name in ("inputs", "targets"))
forecast = forecaster(inputs, horizon=5)

figure, axes = plt.subplots(
    3,
    5,
    num="Inputs, truth and forecast of a moving digit",
    figsize=(6.4, 4.2),
    layout="constrained",
)
for row, (name, frames) in zip(
    axes, {"input": inputs, "truth": truth, "forecast": forecast}.items(), strict=True
):
    for t, (panel, frame) in enumerate(zip(row, frames, strict=True)):
        panel.imshow(frame, cmap="gray", vmin=0, vmax=1)
        panel.set(
            xticks=[],
            yticks=[],
            title=f"{name} {t - 4 if name == 'input' else t + 1:+d}",
        )
plt.show()

# %% [markdown]
# ## The same on the command line
#
# ```
# convlstm train experiment=quickstart data.digits=builtin name=digits
# convlstm evaluate ckpt=runs/digits
# convlstm forecast ckpt=runs/digits input=frames.gif horizon=10 out=forecast.gif
# ```
#
# `convlstm evaluate` writes a report with pictures, `runs/digits/evaluation/report.html`. Every setting is a key:
# [configuration](../configuration.md).
