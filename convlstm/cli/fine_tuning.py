"""Fine-tuning: `init=CKPT`, a new run that starts from the weights of a checkpoint, and `freeze=[LAYER,...]`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from convlstm import checkpoints
from convlstm.checkpoints.build import TRUSTED, check_targets
from convlstm.checkpoints.frozen import freeze
from convlstm.checkpoints.hub import from_hub
from convlstm.checkpoints.own_runs import trusted_packages
from convlstm.checkpoints.transfer import Transfer, take_weights
from convlstm.cli.configuration import plain, typed_changes
from convlstm.cli.program import fail
from convlstm.distributed.ranks import Ranks
from convlstm.ensemble_losses import EnsembleScore
from convlstm.runs.folder import holds_checkpoints
from convlstm.runs.resume import newest

import mlx.nn as nn
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

# Arrays that are listed by name.
MOST_LISTED = 8
# The loss of configs/train.yaml, and the one for models that return members.
_DEFAULT_LOSS = "bce"
_OF_MEMBERS = f"{EnsembleScore.__module__}.{EnsembleScore.__qualname__}"


def follow_checkpoint(config: DictConfig, ranks: Ranks) -> None:
    """Gives a configuration the model of the checkpoint in `init`, and the checkpoint's path.

    A model that returns members also gets the loss of the checkpoint, unless the command line or an experiment chooses
    one: the default loss is for single forecasts. A run that is resumed and that began in this way keeps its model and
    its loss as well. `model=CHOICE` on the command line chooses another model; `model.KEY=VALUE` changes a key of the
    checkpoint's.
    """
    settings = plain(config)
    if settings["init"] is not None and settings["resume"] is not None:
        fail(
            "'init' starts a new run, and 'resume' continues one, which has its weights already. Leave out one of them."
        )
    folder, model, loss, own = ranks.share(_source(settings) if ranks.main else None)
    if folder is None:
        return
    if settings["init"] is not None:
        config.init = folder
    changes = [(change.key_or_group, change) for change in typed_changes()]
    named = {key for key, _ in changes}
    sections = {} if "model" in named else {"model": model}
    of_members = loss is not None and (settings | sections)["model"].get("_target_") == model.get("_target_")
    if of_members and HydraConfig.get().runtime.choices.get("loss") == _DEFAULT_LOSS and "loss" not in named:
        sections["loss"] = loss
    trusted = (*TRUSTED, *settings["trusted"], *own)
    try:
        for name, section in sections.items():
            check_targets(section, trusted, nn.Module if name == "model" else EnsembleScore)
        for text in _hydra_words(list(sections.values())):
            raise checkpoints.CheckpointError(f"it has {text!r}, which only configurations of the user may have.")
    except ValueError as error:
        raise ValueError(f"{error}\nThe model comes from '{folder}/{checkpoints.CONFIG}'.") from error
    with open_dict(config):
        for name, section in sections.items():
            config[name] = section
            for key, change in changes:
                if key.startswith(f"{name}."):
                    OmegaConf.update(config, key, change.value(), force_add=True)
    for name in sections:
        print(
            f"note        the {name} is that of '{folder}', changed by {name}.KEY=VALUE; {name}=CHOICE chooses another"
        )


def _source(settings: dict[str, Any]) -> list[Any]:
    """Returns the checkpoint whose model a run has, descriptions of model and loss, and packages of this user's run.

    The checkpoint and the model are None if there is none, the loss if it is not one of members.
    """
    if settings["init"] is not None:
        try:
            folder = checkpoints.find(str(settings["init"]))
        except checkpoints.CheckpointError as error:
            raise checkpoints.CheckpointError(f"init: {error}") from error
        return _described_by(folder.resolve(), checkpoints.name_of(folder.resolve()))
    resumed = settings["resume"]
    if resumed == "auto":
        resumed = Path(str(settings["output"])).expanduser() / str(settings["name"])
        resumed = resumed if holds_checkpoints(resumed) else None
    if resumed is None or not checkpoints.read_config(folder := newest(resumed)).get("init"):
        return [None, None, None, []]
    return _described_by(folder.resolve(), str(resumed))


def _described_by(folder: Path, name: str) -> list[Any]:
    config = checkpoints.read_config(folder)
    loss = config.get("loss")
    loss = loss if isinstance(loss, dict) and loss.get("_target_") == _OF_MEMBERS else None
    return [name, config["model"], loss, list(trusted_packages(checkpoints.run_of(folder), config))]


def _hydra_words(node: Any) -> Iterator[str]:
    """Yields the keys and values of a description that Hydra or OmegaConf would act on."""
    if isinstance(node, dict):
        for key, value in node.items():
            if str(key).startswith("_") and key != "_target_":
                yield str(key)
            yield from _hydra_words(value)
    elif isinstance(node, list):
        for item in node:
            yield from _hydra_words(item)
    elif isinstance(node, str) and ("${" in node or node == "???"):
        yield node


def prepare(model: nn.Module, init: str | None, patterns: Sequence[str], ranks: Ranks, data: Any = None) -> list[str]:
    """Gives a model the weights of a checkpoint, freezes layers, and returns lines that say so.

    Args:
        model: The model.
        init: The checkpoint, or None. Rank 0 reads it, and the others get its weights when training starts.
        patterns: Layers to freeze, as for `checkpoints.frozen.freeze`.
        ranks: The processes that train together.
        data: The data, whose scale should be that of the checkpoint's. Default: unknown.
    """
    lines: list[str] = []
    if init is not None and ranks.main:
        folder = checkpoints.packaged() if init == checkpoints.NOWCAST else Path(init)
        folder = checkpoints.find(init) if from_hub(init) else folder
        lines = [*_described(take_weights(folder, model)), *_other_scale(folder, data)]
    if frozen := freeze(model, patterns):
        lines.append(f"frozen      {len(frozen)} arrays do not change: {_listed(frozen)}")
    return lines


def _described(transfer: Transfer) -> list[str]:
    step = checkpoints.read_state(transfer.folder)["step"]
    total = len(transfer.taken) + len(transfer.anew)
    lines = [f"init        {len(transfer.taken)} of {total} arrays from '{transfer.folder}', step {step}"]
    lines += [f"anew        {name}: {reason}" for name, reason in list(transfer.anew.items())[:MOST_LISTED]]
    if len(transfer.anew) > MOST_LISTED:
        lines.append(f"anew        and {_listed(list(transfer.anew)[MOST_LISTED:])}")
    if transfer.unused:
        lines.append(f"not used    arrays of the checkpoint that the model lacks: {_listed(transfer.unused)}")
    return lines


def _other_scale(folder: Path, data: Any) -> list[str]:
    """Returns a line if a checkpoint was trained on values of another scale than that of the data."""
    record = checkpoints.read_state(folder).get("data")
    former = record.get("transform") if isinstance(record, dict) else None
    transform: Any = getattr(data, "transform", None)
    if not isinstance(former, dict) or not hasattr(transform, "describe") or transform.describe() == former:
        return []
    return [f"note        the weights are for values scaled by {former}, but the data have {transform.describe()}"]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return ", ".join(names[:MOST_LISTED]) + more
