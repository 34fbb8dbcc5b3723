"""What a model of OpenSTL learns of Moving-MNIST in a given time: `python -m benchmarks.learning --help`.

The transcriptions in PyTorch are trained as OpenSTL trains: the settings of `experiment=openstl_convlstm_s` or
`openstl_simvp`, from the same initial weights and on the same sequences as our models. Its cycle of the learning rate
and its schedule of true frames are made for 200 epochs, of which an hour on a CPU is a small part, so both are
shortened to the steps that fit into the time. `metrics.csv` has some of the columns of a run of `train.py`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.ours import Side as OurSide
from benchmarks.pytorch_side import FEED_BACK, build, to_torch
from benchmarks.workload import Workload
from convlstm.cli.configuration import CONFIGS, plain
from convlstm.datasets.moving_mnist import MovingMNIST

import hydra
import mlx.core as mx
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import mse_loss
from tqdm import tqdm

EXPERIMENTS = {"convlstm-s": "openstl_convlstm_s", "simvp": "openstl_simvp"}
# OpenSTL feeds fewer and fewer true frames until step 50,000 of 125,000.
SAMPLED_SHARE = 0.4
PROBE_STEPS = 3
COLUMNS = "step,seconds,learning_rate,train_loss,val_mse_per_frame"


class Learner:
    """A transcription in PyTorch with the data, the optimizer and the schedules of OpenSTL.

    Args:
        name: 'convlstm-s' or 'simvp'.
        changes: Changes of the experiment, such as data.digits=mnist.
    """

    def __init__(self, name: str, changes: Sequence[str]):
        with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
            settings = plain(hydra.compose("train", [f"experiment={EXPERIMENTS[name]}", "name=learning", *changes]))
        data, model, trainer = settings["data"], settings["model"], settings["trainer"]
        self.schedule, self.seed, self.batch_size = settings["schedule"], settings["seed"], trainer["batch_size"]
        self.data = MovingMNIST(
            **{key: value for key, value in data.items() if key != "_target_"} | {"dtype": "float32"}
        )
        self.horizon = self.data.target_frames
        workload = Workload(
            "train",
            model["_target_"].rpartition(".")[2],
            {key: value for key, value in model.items() if key != "_target_"},
            (self.batch_size, self.data.input_frames, *self.data.frame_shape),
            self.horizon,
        )
        self.feeds_back = workload.model in FEED_BACK
        self.model = build(workload)
        self.model.load_state_dict({key: to_torch(a) for key, a in self._initial(workload).items()})
        self.model.to(memory_format=torch.channels_last)
        rate = float(self.schedule["learning_rate"])
        self.optimizer = torch.optim.Adam(self.model.parameters(), rate, fused=True)
        self.rng = np.random.default_rng(self.seed)

    def _initial(self, workload: Workload) -> dict[str, np.ndarray]:
        """Returns the initial weights of our model, with the seed of `train.py`."""
        mx.random.seed(self.seed)
        return OurSide.initial_weights(workload)

    def one_cycle(self, steps: int) -> torch.optim.lr_scheduler.OneCycleLR:
        """Returns OpenSTL's schedule of the learning rate over so many steps."""
        return torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            self.schedule["learning_rate"],
            total_steps=steps,
            pct_start=self.schedule["warmup_share"],
            div_factor=self.schedule["div"],
            final_div_factor=self.schedule["final_div"],
        )

    def batches(self) -> Iterator[dict[str, Tensor]]:
        """Returns batches of training for ever."""
        for epoch in itertools.count():
            for batch in self.data.stream("train", self.batch_size, seed=self.seed, epoch=epoch):
                yield {key: to_torch(np.asarray(batch[key])) for key in ("inputs", "targets")}

    def step(self, batch: dict[str, Tensor], share: float) -> float:
        """Makes a step in which true frames are fed with this probability, and returns the loss."""
        inputs, targets = batch["inputs"], batch["targets"]
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        if self.feeds_back:
            drawn = self.rng.random((len(inputs), self.horizon - 1)) < share
            frames = self.model(inputs, self.horizon, targets, torch.from_numpy(drawn.astype(np.float32)))
            loss = mse_loss(frames, torch.cat([inputs[:, 1:], targets], dim=1))
        else:
            loss = mse_loss(self.model(inputs, self.horizon)[0], targets)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def mse(self, split: str, sequences: int) -> float:
        """Returns the MSE per frame, summed over pixels, on the first sequences of a split, cut to 0 ... 1."""
        self.model.eval()
        total, number = 0.0, 0
        stream = self.data.stream(split, self.batch_size)
        with torch.inference_mode():
            for batch in itertools.islice(stream, -(-sequences // self.batch_size)):
                inputs, targets = (
                    to_torch(np.asarray(batch[key])[: sequences - number]) for key in ("inputs", "targets")
                )
                y = self.model(inputs, self.horizon)
                y = y[:, -self.horizon :] if self.feeds_back else y[0]
                total += (y.clamp(0, 1) - targets).square().sum().item() / self.horizon
                number += len(inputs)
        return total / number


def train(learner: Learner, minutes: float, out: Path, validations: int, sequences: int) -> None:
    """Makes the steps that fit into so many minutes, by a short probe, and writes a row after each validation.

    The time of validations does not count. A run that was stopped goes on after its last validation.
    """
    out.mkdir(parents=True, exist_ok=True)
    state_file, log = out / "state.pt", out / "metrics.csv"
    batches = learner.batches()
    begun, seconds, losses = 0, 0.0, list[float]()
    if state_file.is_file():
        state = torch.load(state_file, weights_only=False)
        steps, begun, seconds = state["steps"], state["step"], state["seconds"]
        learner.model.load_state_dict(state["model"])
        learner.rng = state["rng"]
        batches = itertools.islice(batches, begun, None)
    else:
        times = []
        weights = {key: value.clone() for key, value in learner.model.state_dict().items()}
        for batch in itertools.islice(learner.batches(), PROBE_STEPS):
            start = time.perf_counter()
            learner.step(batch, 1.0)
            times.append(time.perf_counter() - start)
        learner.model.load_state_dict(weights)
        learner.optimizer.state.clear()
        steps = max(validations, int(60 * minutes / median(times[1:])))
        log.write_text(COLUMNS + "\n", encoding="utf-8")
    schedule = learner.one_cycle(steps)
    if begun:
        learner.optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
    every = -(-steps // validations)
    with tqdm(total=steps, initial=begun, unit="step") as progress:
        for n in range(begun, steps):
            start = time.perf_counter()
            rate = learner.optimizer.param_groups[0]["lr"]
            losses.append(learner.step(next(batches), max(0.0, 1 - n / (SAMPLED_SHARE * steps))))
            if n + 1 < steps:
                schedule.step()
            seconds += time.perf_counter() - start
            progress.update()
            if (n + 1) % every == 0 or n + 1 == steps:
                score = learner.mse("validation", sequences)
                with log.open("a", encoding="utf-8") as file:
                    file.write(f"{n + 1},{seconds:.1f},{rate:.4g},{np.mean(losses):.6g},{score:.2f}\n")
                losses = []
                state = {"steps": steps, "step": n + 1, "seconds": seconds, "rng": learner.rng}
                state |= {key: getattr(learner, key).state_dict() for key in ("model", "optimizer")}
                torch.save(state | {"schedule": schedule.state_dict()}, state_file)
                progress.set_postfix(val_mse_per_frame=f"{score:.1f}")


def main() -> None:
    """Trains one of OpenSTL's models and writes its curve and its score."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning", description=__doc__)
    parser.add_argument("model", choices=EXPERIMENTS)
    parser.add_argument("changes", nargs="*", help="changes of the experiment: data.digits=mnist trainer.batch_size=8")
    parser.add_argument("--minutes", type=float, default=60.0, help="time of training (60)")
    parser.add_argument("--threads", type=int, default=2, help="PyTorch's threads (2)")
    parser.add_argument("--validations", type=int, default=12, help="points of the curve (12)")
    parser.add_argument("--sequences", type=int, default=256, help="sequences of a validation (256)")
    parser.add_argument("--test", type=int, default=1000, help="test sequences for the score (1000)")
    parser.add_argument("--out", type=Path, required=True, help="folder for metrics.csv, score.json and the state")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    learner = Learner(given.model, given.changes)
    train(learner, given.minutes, given.out, given.validations, given.sequences)
    score: dict[str, Any] = {"test_mse_per_frame": learner.mse("test", given.test), "sequences": given.test}
    (given.out / "score.json").write_text(json.dumps(score, indent=2) + "\n", encoding="utf-8")
    print(f"test MSE per frame {score['test_mse_per_frame']:.2f} on {given.test} sequences")


if __name__ == "__main__":
    main()
