"""Runs that log without training, for the tests of loggers."""

from __future__ import annotations

from convlstm.runs.logging import Loggers
from convlstm.runs.metrics_log import MetricsLog
from convlstm.runs.progress import Progress

CONFIG = {"model": {"kernel_size": 3, "hidden_channels": [4, 4]}, "seed": 0}


def run(folder, loggers, steps, step=0, status="finished", value=lambda step: 1 / step, config=CONFIG):
    """Logs rows of the steps to some loggers, as a run does that starts or continues at `step`."""
    folder.mkdir(exist_ok=True)
    progress = Progress(step=step)
    log = MetricsLog(folder / "metrics.csv", ["step", "seconds", "train_loss", "val_psnr"], step)
    with Loggers(loggers, log, folder, config, progress) as logging:
        for n in steps:
            row = {"step": n, "seconds": 0.5 * n, "train_loss": value(n)} | ({"val_psnr": 20 + n} if n % 4 == 0 else {})
            log.add(row)
            logging.log(row)
        progress.status = status
