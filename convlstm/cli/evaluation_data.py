"""The data that models are scored on: the command line's, or the checkpoint's with the command line's changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from convlstm import checkpoints
from convlstm.checkpoints.build import build, check_targets, resolve
from convlstm.checkpoints.own_runs import trusted_packages
from convlstm.cli.error_wording import led_by_keys
from convlstm.cli.instantiation import check_types, instantiate
from convlstm.cli.program import fail
from convlstm.datasets.gridded_fields import GriddedFields
from convlstm.datasets.moving_mnist import MovingMNIST
from convlstm.datasets.remote_addresses import addresses_in, was_asked
from convlstm.datasets.transforms import Transform
from convlstm.forecasting.scale import scale_of
from convlstm.runs.comparison import differences

from omegaconf import DictConfig

# Keys that are never taken from a checkpoint: only the user decides where files are written and what is downloaded.
NOT_FROM_CHECKPOINTS = ("index", "mirrors")
# Keys of the data of fields by which their channels are found: those of training count unless one is changed.
FITTED = ("variable", "targets", "extras", "scale", "changes", "climatology", "static")


@runtime_checkable
class Data(Protocol):
    """The methods that a checkpoint's data must have."""

    def size(self, split: str) -> int: ...
    def stream(self, split: str, batch_size: int) -> Iterable[dict[str, Any]]: ...
    def describe(self) -> dict[str, Any]: ...


def build_data(config: DictConfig, changes: dict[str, Any] | None, folder: Path | None, trusted: Sequence[str]) -> Any:
    """Returns the data of the command line, or the checkpoint's with the keys that the command line changes.

    Args:
        config: The configuration.
        changes: Its section `data`, or None.
        folder: The checkpoint, or None.
        trusted: Further packages whose classes the checkpoint may name, beside those of a run of this user's own.
    """
    if folder is None or (changes is not None and "_target_" in changes):
        check_types({"data": changes} if changes else {})
        return instantiate(config, "data")
    saved = checkpoints.read_config(folder)
    if not isinstance(saved.get("data"), dict):
        if folder == checkpoints.packaged():
            fail(f"the model '{checkpoints.NOWCAST}' comes without data: data=radar_echo data.archive=PATH.")
        fail("the checkpoint's config.yaml has no section 'data'. Name the data: data=moving_mnist.")
    changes = changes or {}
    description = {key: value for key, value in saved["data"].items() if key not in NOT_FROM_CHECKPOINTS} | changes
    packages = ("convlstm.datasets", *trusted, *trusted_packages(checkpoints.run_of(folder.resolve()), saved))
    try:
        # This must come first: all that follows imports what the checkpoint names.
        check_targets(description := {"_target_": ""} | description, packages, Data, inside=Transform)
        check_addresses({key: value for key, value in description.items() if key not in changes}, folder)
        root_from_checkpoint = saved["data"].get("root") is not None and "root" not in changes
        if root_from_checkpoint and issubclass(resolve(description["_target_"], packages), MovingMNIST):
            # Nothing is downloaded into a folder that the user did not name.
            description = {"mirrors": []} | description
        check_types({"data": description})
        if resolve(description["_target_"], packages) is GriddedFields and not {*changes} & {*FITTED}:
            description |= trained_channels(folder, saved)
        return build(description, packages, Data, inside=Transform)
    except (OSError, TypeError, ValueError) as error:
        text = led_by_keys(str(error), {"data": description}, "data")
        raise ValueError(f"{text}\nThe data come from '{folder / checkpoints.CONFIG}' and the changes.") from error


def check_addresses(saved: dict[str, Any], folder: Path) -> None:
    """Raises an error where a checkpoint's data are on a server that this user has never named."""
    for key, value in saved.items():
        if strange := [one for one in addresses_in(value) if not was_asked(one)]:
            fail(
                f"the data of '{folder / checkpoints.CONFIG}' are at {strange[0]}, from which you have not read yet. "
                f"A checkpoint alone has no server asked: if you trust the address, name it: data.{key}={strange[0]}."
            )


def trained_channels(folder: Path, saved: dict[str, Any]) -> dict[str, Any]:
    """Returns the channels of a checkpoint as an argument of its data of fields, if it has recorded them.

    Scales, fixed fields and climatology are those of training, whatever data are evaluated.
    """
    record = checkpoints.read_state(folder).get("data")
    if not isinstance(record, dict) or not isinstance(record.get("channels"), dict):
        return {}
    return {"channels": scale_of(saved["data"], record, (), checkpoints.read_maps(folder))}


def differences_in_training(models: Iterable[str], folders: list[Path]) -> dict[str, list[str]]:
    """Returns the keys of each run's data that differ from the first run's data, on which all models are scored."""
    first, *others = (checkpoints.read_config(folder) for folder in folders) if folders else ({},)
    keys = [[key for key, _, _ in differences(first, other, ["data"])] for other in others]
    return {name: differing for name, differing in zip(list(models)[1:], keys, strict=False) if differing}
