"""The settings of a training run."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from numbers import Real

from convlstm.arguments import check_whole
from convlstm.runs.folder import ON_FULL_DISK
from convlstm.training.ema import check_decay
from convlstm.training.precision import check_precision
from convlstm.training.validation import MONITORED


@dataclass(frozen=True)
class Settings:
    """The settings of a training run, checked when they are created.

    Args:
        max_steps: Number of optimizer steps, skipped ones included.
        batch_size: Number of sequences in a step.
        accumulate: Number of equal parts of a batch whose gradients are computed one after the other and added up. This
            saves memory, and the step is the same up to rounding. `batch_size` must be a multiple of it. Default: 1.
        max_grad_norm: Norm over all parameters above which gradients are scaled down. Default: None, no limit.
        ema: Decay of an exponential moving average of the weights, such as 0.999. Validations score the average, and
            checkpoints keep it beside the weights. Default: None, no average.
        log_every: Steps between rows of `metrics.csv`, each with the mean loss since the last one. Default: 10.
        validate_every: Steps between validations. Default: 500.
        validation_sequences: Number of sequences of the validation split to use. Default: None, all.
        checkpoint_every: Steps between checkpoints, which are also written after each validation. Default: 100.
        keep_last: Number of earlier checkpoints to keep beside the newest one. Default: 1.
        monitor: Validation score that chooses the best checkpoint: 'val_loss', 'val_mse_per_frame',
            'val_mae_per_frame' or 'val_psnr'. Default: 'val_loss'.
        patience: Validations without a better score after which training stops. Default: None, no early stopping.
        precision: 'float32', or 'bfloat16' for the model's forward and backward pass in training. Weights, optimizer,
            loss, checkpoints and validation are float32 in both cases. Default: 'float32'.
        max_skipped: Number of steps in a row that may be skipped because their loss or gradient is not finite. One more
            ends training. Default: 10.
        on_full_disk: 'stop' ends training if a checkpoint or a row of `metrics.csv` cannot be written; 'warn' continues
            with a warning. Default: 'stop'.

    Raises:
        ValueError: A number is out of range, or a choice is unknown.
    """

    max_steps: int
    batch_size: int
    _: KW_ONLY
    accumulate: int = 1
    max_grad_norm: float | None = None
    ema: float | None = None
    log_every: int = 10
    validate_every: int = 500
    validation_sequences: int | None = None
    checkpoint_every: int = 100
    keep_last: int = 1
    monitor: str = "val_loss"
    patience: int | None = None
    precision: str = "float32"
    max_skipped: int = 10
    on_full_disk: str = "stop"

    def __post_init__(self) -> None:
        for name in ("max_steps", "batch_size", "accumulate", "log_every", "validate_every", "checkpoint_every"):
            self._check_whole(name)
        self._check_whole("keep_last")
        self._check_whole("max_skipped", least=0)
        for name in ("validation_sequences", "patience"):
            if getattr(self, name) is not None:
                self._check_whole(name)
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"[Trainer] 'batch_size' must be a multiple of 'accumulate' ({self.accumulate}) but got "
                f"{self.batch_size}. Change one of them."
            )
        norm = self.max_grad_norm
        if norm is not None and not (isinstance(norm, Real) and not isinstance(norm, bool) and norm > 0):
            raise ValueError(f"[Trainer] 'max_grad_norm' must be above 0, or null for none, but got {norm!r}.")
        if self.monitor not in MONITORED:
            raise ValueError(f"[Trainer] 'monitor' must be one of {', '.join(MONITORED)} but got {self.monitor!r}.")
        if self.on_full_disk not in ON_FULL_DISK:
            choices = " or ".join(ON_FULL_DISK)
            raise ValueError(f"[Trainer] 'on_full_disk' must be {choices} but got {self.on_full_disk!r}.")
        check_precision("Trainer", self.precision)
        check_decay("Trainer", self.ema)

    def _check_whole(self, name: str, least: int = 1) -> None:
        """Checks a whole number and stores it as an int, since NumPy's integers cannot be written to JSON."""
        object.__setattr__(self, name, check_whole("Trainer", name, getattr(self, name), least, None))
