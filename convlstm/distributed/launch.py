"""The launch of several ranks: the settings of a process that depend on the others, and how it is reached."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from pathlib import Path

from convlstm.backend.private_folder import create_own, temporary_folder


def launched() -> bool:
    """Returns True if the environment says that this process is one of several."""
    environment = os.environ
    for name in ("MLX_WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"):
        if environment.get(name, "").isdigit() and int(environment[name]) > 1:
            return True
    if "MLX_RANK" not in environment:
        return False
    if hosts := environment.get("MLX_HOSTFILE"):
        # mlx.launch leaves the file empty for one process.
        return not Path(hosts).exists() or Path(hosts).read_text(encoding="utf-8").strip() != ""
    return any(name in environment for name in ("MLX_JACCL_COORDINATOR", "MLX_IBV_DEVICES"))


def host_addresses() -> list[str]:
    """Returns names and addresses at which other ranks may reach this machine, the likeliest first."""
    hosts = []
    with suppress(OSError, ValueError, KeyError, IndexError, AttributeError):
        text = Path(os.environ["MLX_HOSTFILE"]).read_text(encoding="utf-8")
        hosts += [address.rpartition(":")[0] for address in json.loads(text)[0]]
    hosts += [os.environ[name] for name in ("NCCL_HOST_IP",) if name in os.environ]
    if "MLX_JACCL_COORDINATOR" in os.environ:
        hosts.append(os.environ["MLX_JACCL_COORDINATOR"].rpartition(":")[0])
    name = socket.gethostname()
    with suppress(OSError):
        hosts += [str(info[4][0]) for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    return list(dict.fromkeys([*filter(None, hosts), name]))


def share_processor(ranks: int) -> None:
    """Gives each of the ranks on this machine an equal share of its cores, unless the user has set the threads."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if "OMP_NUM_THREADS" not in os.environ:
        os.environ.setdefault("CONVLSTM_THREADS", str(max(1, cores // ranks)))


def compile_apart(local_rank: int) -> None:
    """Gives a rank its own folder for the functions that MLX compiles, unless it is the first on its machine.

    MLX writes them to the folder for temporary files under their final names. Another process that starts at the same
    moment would load an incomplete one. The folders stay, so everything is compiled only once.
    """
    if local_rank:
        folder = temporary_folder() / f"convlstm-{os.getuid()}-rank-{local_rank}"
        os.environ["TMPDIR"] = str(create_own(folder))
