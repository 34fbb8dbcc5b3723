"""Files of weights, read and written as NumPy arrays by name."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convlstm.arguments import check_mapping, check_path
from convlstm.backend import files
from convlstm.checkpoints import tensors
from convlstm.convert import limits

import mlx.core as mx
import numpy as np

TORCH = (".ckpt", ".pth", ".pt", ".bin")
# Keys under which training programs store a model's weights: Lightning, predrnn-pytorch, and others.
NESTED = ("state_dict", "net_param", "model_state_dict", "model")
# Prefixes that wrappers add to the names: Lightning modules, data-parallel modules, compiled modules.
PREFIXES = ("model.", "module.", "_orig_mod.")
# Programs store more than weights: schedules, arguments and callbacks, as objects of these packages. OpenSTL's
# latest.pth names a function of its schedule. All of these are left out, and none of their code is run.
LEFT_OUT = re.compile(
    r"builtins\.getattr|(torch\.optim|numpy|argparse|omegaconf|pytorch_lightning|lightning|openstl)\..*"
)

StateDict = dict[str, np.ndarray]


class ConversionError(ValueError):
    """Weights cannot be read or written, belong to no known model, or do not fit it."""


def path_of(owner: str, path: Any) -> Path:
    """Returns the path of a file of weights, or raises ConversionError."""
    try:
        return check_path(owner, "path", path).expanduser()
    except ValueError as error:
        raise ConversionError(str(error)) from None


def read_state_dict(path: str | Path) -> StateDict:
    """Returns the arrays of a file by name, without the prefixes of wrappers.

    Args:
        path: A file of PyTorch (.ckpt, .pth, .pt, .bin, also with a step's number as in model.ckpt-80000; code in a
            pickle is not run), .safetensors or .npz.

    Raises:
        ConversionError: The file cannot be read, or holds no weights.
    """
    path = path_of("read_state_dict", path)
    if not path.is_file():
        raise ConversionError(
            f"'{path}' is not a file. Name a file of weights: {', '.join(TORCH)}, .safetensors or .npz."
        )
    try:
        limits.check_file(path)
    except (OSError, ValueError) as error:
        raise ConversionError(f"'{path}' cannot be read: {error}.") from error
    if _is_torch(path):
        arrays = _of_torch(path)
    elif path.suffix == ".safetensors":
        try:
            arrays = {name: _plain(array) for name, array in tensors.read(path).items()}
        except (OSError, tensors.TensorFileError) as error:
            raise ConversionError(f"'{path}' cannot be read: {error}.") from error
    elif path.suffix == ".npz":
        try:
            arrays = limits.read_npz(path)
        except (*limits.DAMAGED, ValueError) as error:
            raise ConversionError(f"'{path}' cannot be read: {error}.") from error
    else:
        raise ConversionError(f"'{path}' has an unknown ending. Known are {', '.join(TORCH)}, .safetensors and .npz.")
    if not arrays:
        raise ConversionError(f"'{path}' holds no arrays.")
    return _without_prefixes(arrays)


def check_arrays(owner: str, arrays: Any) -> None:
    """Raises ConversionError if a state_dict is not arrays of numbers by name."""
    try:
        check_mapping(owner, "arrays", arrays)
    except ValueError as error:
        raise ConversionError(str(error)) from None
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufc":
            raise ConversionError(f"[{owner}] 'arrays' must be NumPy's of numbers but got {array!r} for '{name}'.")


def _plain(array: mx.array) -> np.ndarray:
    """Returns an MLX array as NumPy's, which has no bfloat16: all real numbers as float32."""
    return np.array(array.astype(mx.float32) if mx.issubdtype(array.dtype, mx.floating) else array)


def _is_torch(path: Path) -> bool:
    return re.sub(r"-\d+$|\.tar$", "", path.name).endswith(TORCH)


def _of_torch(path: Path) -> StateDict:
    torch = _torch()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    limits.check_parts(path, archive.infolist())
            content = _load(torch, path)
    except pickle.UnpicklingError as error:
        unknown = _unknown_names(torch, path)
        named = f" ({', '.join(unknown[:4])})" if unknown else ""
        raise ConversionError(
            f"'{path}' holds more than weights{named}, which could run a stranger's code, so it was not read. Save the "
            "weights alone, in the program that made it: torch.save(model.state_dict(), PATH)."
        ) from error
    except (
        OSError,
        RuntimeError,
        ValueError,
        EOFError,
        LookupError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
        MemoryError,
    ) as error:
        raise ConversionError(f"'{path}' cannot be read: {error}.") from error
    weights = _weights(content)
    if weights is None:
        raise ConversionError(f"'{path}' holds no weights by name, alone or under {', '.join(NESTED)}.")
    try:
        # A tensor may repeat one number without end.
        limits.check_bytes(path, sum(4 * tensor.numel() for tensor in weights.values()))
    except ValueError as error:
        raise ConversionError(f"'{path}' cannot be read: {error}.") from error
    return {
        name: tensor.detach().float().numpy() if tensor.is_floating_point() else tensor.numpy()
        for name, tensor in weights.items()
    }


def _load(torch: Any, path: Path) -> Any:
    """Returns the content of a file, with a `_Nothing` in place of each object that is left out."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        unknown = _unknown_names(torch, path)
        if not unknown or not all(LEFT_OUT.fullmatch(name) for name in unknown):
            raise
        with torch.serialization.safe_globals([(_Nothing, name) for name in unknown]):
            return torch.load(path, map_location="cpu", weights_only=True)


def _unknown_names(torch: Any, path: Path) -> list[str]:
    """Returns the names of classes and functions in a file that PyTorch does not read as weights."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # an older PyTorch, or a file that is no archive: the file stays refused
        return []


class _Nothing:
    """A substitute for a stranger's class or function that takes any arguments and does nothing."""

    def __new__(cls, *arguments: Any) -> _Nothing:
        return super().__new__(cls)

    def __init__(self, *arguments: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _weights(content: Any) -> dict[str, Any] | None:
    """Returns the tensors by name in a file's content, or None if it has none."""
    if not isinstance(content, Mapping):
        return None
    for name in NESTED:
        if isinstance(content.get(name), Mapping):
            return _weights(content[name])
    tensors_by_name = {name: value for name, value in content.items() if hasattr(value, "is_floating_point")}
    return tensors_by_name or None


def _without_prefixes(arrays: StateDict) -> StateDict:
    """Returns the arrays after removing the prefixes of wrappers that all names have."""
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in arrays)), None):
        arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
    return arrays


def write_state_dict(path: str | Path, arrays: StateDict) -> None:
    """Writes arrays by name to a file, in the format of its ending, which `read_state_dict` reads.

    Raises:
        ConversionError: The ending is unknown, the file exists already, or the arrays are none.
    """
    path = path_of("write_state_dict", path)
    check_arrays("write_state_dict", arrays)
    if path.exists():
        raise ConversionError(f"'{path}' exists already. Choose another name.")
    if path.suffix not in (*TORCH, ".safetensors", ".npz"):
        raise ConversionError(f"'{path}' has an unknown ending. Known are {', '.join(TORCH)}, .safetensors and .npz.")
    if path.suffix == ".npz" and (taken := {"file", "allow_pickle"}.intersection(arrays)):  # arguments of np.savez
        raise ConversionError(
            f"[write_state_dict] 'arrays' must not be named file or allow_pickle in .npz but got {min(taken)!r}."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as temporary:
        if path.suffix in TORCH:
            torch = _torch()
            torch.save({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}, temporary)
        elif path.suffix == ".safetensors":
            mx.save_safetensors(str(temporary), {name: mx.array(array) for name, array in arrays.items()})
        else:
            np.savez(temporary, **arrays)  # type: ignore[arg-type]


def _torch():
    try:
        import torch
    except ImportError as error:
        raise ConversionError(
            "files of PyTorch are read and written with PyTorch, which is not installed: pip install torch. Files "
            "that end in .safetensors or .npz do not need it."
        ) from error
    return torch
