"""What a training run can be told beside its model, data, loss and optimizer."""

from __future__ import annotations

from convlstm.runs.folder import ON_FULL_DISK
from convlstm.training.ema import check_decay
from convlstm.training.precision import check_precision
from convlstm.training.validation import MONITORED


class Settings:
    """The settings of a training run, checked.

    Args:
        max_steps: Number of optimizer steps, skipped ones included.
        batch_size: Sequences in a step.
        accumulate: Equal parts of a batch whose gradients are added up, one after the other: a part's memory instead of
            a batch's, and the same step up to rounding. `batch_size` must be a multiple of it. Default: 1.
        max_grad_norm: Gradients with a larger norm over all parameters are scaled down to it. None: never.
        ema: Decay of an exponential moving average of the weights, such as 0.999, which validations score and
            checkpoints keep beside the weights. None: no average.
        log_every: Steps between rows of `metrics.csv`, each with the mean loss since the last. Default: 10.
        validate_every: Steps between validations. Default: 500.
        validation_sequences: Sequences of the validation split that are used; None: all.
        checkpoint_every: Steps between checkpoints; there is one after every validation besides. Default: 500.
        keep_last: Checkpoints that are kept of those before the newest. Default: 1.
        monitor: Score of the validation that decides which checkpoint is best: 'val_loss', 'val_mse_per_frame',
            'val_mae_per_frame' or 'val_psnr'. Default: 'val_loss'.
        patience: Validations without a better score after which training stops; None: never.
        precision: 'float32', or 'bfloat16' for the model's forward and backward pass in training. Weights, optimizer,
            loss, checkpoints and validation are float32 either way. Default: 'float32'.
        max_skipped: Steps in a row that are skipped because their loss or gradient is not finite; one more ends
            training. Default: 10.
        on_full_disk: Whether training stops ('stop') or goes on with a warning ('warn') where a checkpoint or a row of
            `metrics.csv` cannot be written. Default: 'stop'.

    Raises:
        ValueError: A number is out of range, or a choice is unknown.
    """

    def __init__(
        self,
        max_steps: int,
        batch_size: int,
        *,
        accumulate: int = 1,
        max_grad_norm: float | None = None,
        ema: float | None = None,
        log_every: int = 10,
        validate_every: int = 500,
        validation_sequences: int | None = None,
        checkpoint_every: int = 500,
        keep_last: int = 1,
        monitor: str = "val_loss",
        patience: int | None = None,
        precision: str = "float32",
        max_skipped: int = 10,
        on_full_disk: str = "stop",
    ):
        for name, value, least in (
            ("max_steps", max_steps, 1),
            ("batch_size", batch_size, 1),
            ("accumulate", accumulate, 1),
            ("log_every", log_every, 1),
            ("validate_every", validate_every, 1),
            ("validation_sequences", 1 if validation_sequences is None else validation_sequences, 1),
            ("checkpoint_every", checkpoint_every, 1),
            ("keep_last", keep_last, 1),
            ("patience", 1 if patience is None else patience, 1),
            ("max_skipped", max_skipped, 0),
        ):
            if type(value) is not int or value < least:
                raise ValueError(f"[Trainer] '{name}' must be a whole number of at least {least} but got {value!r}.")
        if batch_size % accumulate:
            raise ValueError(
                f"[Trainer] 'batch_size' must be a multiple of 'accumulate' ({accumulate}) but got {batch_size}. "
                "Change one of them."
            )
        if max_grad_norm is not None and not max_grad_norm > 0:
            raise ValueError(f"[Trainer] 'max_grad_norm' must be above 0, or null for none, but got {max_grad_norm}.")
        if monitor not in MONITORED:
            raise ValueError(f"[Trainer] 'monitor' must be one of {', '.join(MONITORED)} but got {monitor!r}.")
        if on_full_disk not in ON_FULL_DISK:
            choices = " or ".join(ON_FULL_DISK)
            raise ValueError(f"[Trainer] 'on_full_disk' must be {choices} but got {on_full_disk!r}.")
        self.precision, self.ema = check_precision("Trainer", precision), check_decay("Trainer", ema)
        self.max_steps, self.batch_size, self.accumulate = max_steps, batch_size, accumulate
        self.max_grad_norm, self.max_skipped, self.patience = max_grad_norm, max_skipped, patience
        self.log_every, self.validate_every, self.checkpoint_every = log_every, validate_every, checkpoint_every
        self.validation_sequences, self.monitor = validation_sequences, monitor
        self.keep_last, self.on_full_disk = keep_last, on_full_disk
