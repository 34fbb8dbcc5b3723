import os
import signal
from pathlib import Path

from convlstm.backend.private_folder import temporary_folder
from convlstm.distributed import launch
from convlstm.distributed import ranks as distributed
from convlstm.distributed.ranks import ALONE, Ranks, RanksError, digest
from convlstm.distributed.watchdog import LOST, WatchError
from tests.support import ranks

import mlx.core as mx
import numpy as np
import pytest


@pytest.fixture(scope="module")
def exchanged(tmp_path_factory):
    found, out, err = ranks.scene(tmp_path_factory.mktemp("exchange"), "exchange", 3)
    assert (out, err) == ("the last word of rank 0\n", "")
    return found


def test_one_rank_is_the_main_one(exchanged):
    assert [rank["main"] for rank in exchanged] == [True, False, False]
    assert [rank["size"] for rank in exchanged] == [3, 3, 3]


def test_sums_keep_shapes_types_and_the_kind_of_tree(exchanged):
    for rank in exchanged:
        assert rank["sum"] == [[30.0, 33.0, 36.0], [[3.0, 3.0], [3.0, 3.0]], 3, 1.5]
        assert rank["tuple"]
        assert rank["integer"] == "mlx.core.int32"


def test_sums_have_the_same_bits_on_every_rank(exchanged):
    assert len({rank["noise"] for rank in exchanged}) == 1


def test_means_over_the_ranks(exchanged):
    for rank in exchanged:
        assert rank["mean"] == pytest.approx([1.0, 2.0])


def test_ranks_on_one_machine_share_its_processor(exchanged):
    assert [rank["threads"] for rank in exchanged] == [str(max(1, len(os.sched_getaffinity(0)) // 3))] * 3


def test_ranks_on_one_machine_do_not_compile_into_each_others_files(exchanged):
    first, *others = [rank["temporary"] for rank in exchanged]
    assert first == str(temporary_folder())
    assert others == [f"{first}/convlstm-{os.getuid()}-rank-{rank}" for rank in (1, 2)]
    for folder in others:
        assert Path(folder, "mlx").is_dir()  # where MLX has put what it compiled for the exchange


def test_a_choice_of_threads_is_kept(monkeypatch):
    monkeypatch.delenv("CONVLSTM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    launch.share_processor(1)
    assert "CONVLSTM_THREADS" not in os.environ
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setenv("CONVLSTM_THREADS", "5")
    launch.share_processor(1)
    assert os.environ["CONVLSTM_THREADS"] == "5"


def test_values_are_gathered_exactly(exchanged):
    for rank in exchanged:
        assert rank["gathered"] == [{"x": 0.1 * (r + 1), "text": "ä" * r, "none": None} for r in range(3)]
        assert rank["bytes"] == ["", "00", "0001"]
        assert rank["nothing"] == ["", "", ""]


def test_rank_0_shares_values_and_arrays_bit_for_bit(exchanged):
    for rank in exchanged:
        assert rank["shared"] == "from 0"
        assert rank["arrays"]
        assert rank["no arrays"] is None


def test_a_flag_that_one_rank_sets_is_seen_by_all(exchanged):
    assert [rank["any"] for rank in exchanged] == [[True, False, True]] * 3


@pytest.mark.slow
def test_ranks_that_differ_stop_with_one_message(tmp_path):
    found, _, err = ranks.scene(tmp_path, "differ", 3)
    assert found == [{}, {}, {}]
    assert err.count("the weights must be the same on every rank, but rank 0 has these and rank 1 those.") == 1
    assert "Give all ranks the same project, versions, configuration and data, and resume from the last" in err


def test_a_killed_rank_ends_the_others_with_a_message(tmp_path):
    _, _, err = ranks.scene(tmp_path, "killed", 3)
    assert err.count("rank 1 of 3 (") == 2  # from ranks 0 and 2
    assert err.count(") ended without a message: it was killed, or its machine went down. Do this.") == 2
    assert err.count(f"exited with code {LOST}") == 2
    assert err.count(f"exited with code -{signal.SIGKILL.value}") == 1
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_rank_that_fails_ends_the_others_with_one_message(tmp_path):
    _, _, err = ranks.scene(tmp_path, "broken", 2)
    assert err.count("the frames of rank 1 are broken") == 1
    assert "rank 1 (" in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_rank_finishes_its_files_before_it_ends(tmp_path):
    _, out, err = ranks.scene(tmp_path, "busy", 2)
    assert out == "written\n"
    assert "rank 1 of 2 (" in err


def test_one_process_is_alone_and_starts_nothing(tmp_path, monkeypatch):
    found, _, err = ranks.scene(tmp_path, "alone", 1)
    tree = [{"alone": True, "same": [True] * 3, "gathered": [[3], 4, [True, False]], "size": 1}]
    assert found == tree, err
    monkeypatch.setattr(distributed.mx.distributed, "init", lambda **more: pytest.fail("init was called"))
    for name in [name for name in os.environ if name.startswith(("MLX_", "OMPI_", "PMI_"))]:
        monkeypatch.delenv(name)
    assert Ranks.join() is ALONE
    with ALONE as alone, alone.undisturbed():
        alone.advise("nothing")
        alone.check_same("a text", "of one")
        assert (alone.rank, alone.size, alone.main) == (0, 1, True)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, False),
        ({"MLX_RANK": "0"}, False),
        ({"MLX_RANK": "0", "MLX_HOSTFILE": "FULL"}, True),
        ({"MLX_RANK": "0", "MLX_HOSTFILE": "EMPTY"}, False),
        ({"MLX_HOSTFILE": "FULL"}, False),
        ({"MLX_RANK": "0", "MLX_WORLD_SIZE": "2", "NCCL_HOST_IP": "10.0.0.1"}, True),
        ({"MLX_RANK": "0", "MLX_WORLD_SIZE": "1"}, False),
        ({"MLX_RANK": "0", "MLX_JACCL_COORDINATOR": "10.0.0.1:3000"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, True),
        ({"PMI_SIZE": "4"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "1", "PMI_SIZE": "1"}, False),
    ],
)
def test_the_environment_says_if_there_are_other_ranks(monkeypatch, tmp_path, variables, expected):
    for name in [name for name in os.environ if name.startswith(("MLX_", "OMPI_", "PMI_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "EMPTY").write_text("\n")
    (tmp_path / "FULL").write_text('[["127.0.0.1:1"], ["127.0.0.1:2"]]')
    for name, value in variables.items():
        monkeypatch.setenv(name, str(tmp_path / value) if name == "MLX_HOSTFILE" else value)
    assert launch.launched() is expected


def test_ranks_that_cannot_be_brought_up(monkeypatch):
    def fails(**more):
        raise RuntimeError("[ring] no such host")

    monkeypatch.setattr(distributed, "launched", lambda: True)
    monkeypatch.setattr(distributed.mx.distributed, "init", fails)
    with pytest.raises(
        RanksError, match=r"could not be connected: \[ring\] no such host. Start them with mlx.launch, or"
    ):
        Ranks.join()


def test_a_rank_whose_others_never_start_ends(monkeypatch, capfd):
    ended = []

    def hangs(**more):
        while not ended:
            signal.sigtimedwait([], 0.05)
        raise RuntimeError("ended")

    monkeypatch.setattr("convlstm.distributed.watchdog.os._exit", ended.append)
    monkeypatch.setattr(distributed, "JOINING", 0.2)
    monkeypatch.setattr(distributed, "launched", lambda: True)
    monkeypatch.setattr(distributed.mx.distributed, "init", hangs)
    with pytest.raises(RanksError):
        Ranks.join()
    assert ended == [LOST]
    assert "not all ranks started within 0 seconds. Find out why the others did not start." in capfd.readouterr().err


def test_a_digest_tells_names_types_shapes_and_bits_apart():
    trees = [
        {"a": mx.array([0.0, 1.0])},
        {"a": mx.array([-0.0, 1.0])},
        {"b": mx.array([0.0, 1.0])},
        {"a": mx.array([[0.0, 1.0]])},
        {"a": mx.array([0.0, 1.0], mx.bfloat16)},
        {"a": mx.array([0.0, 1.0]), "b": mx.zeros((0,))},
        {},
    ]
    assert len({digest(tree) for tree in trees}) == len(trees)
    assert digest({"b": mx.array(1), "a": mx.array(2)}) == digest({"a": mx.array(2), "b": mx.array(1)})
    assert digest(trees[0], trees[1]) != digest(trees[1], trees[0])
    assert digest(trees[0]) == digest({"a": mx.array(np.array([0, 1], np.float32))})


@pytest.mark.slow
def test_a_fault_of_the_program_keeps_its_traceback(tmp_path):
    _, _, err = ranks.scene(tmp_path, "wrong", 2)
    assert err.count("Traceback") == 1
    assert ": KeyError: 'no such key'\n" in err


def test_reasons_of_an_end_take_a_line():
    assert distributed._reason(SystemExit("a message")) == ("a message", 1)
    assert distributed._reason(SystemExit(3)) == ("ended with status 3", 1)
    assert distributed._reason(KeyboardInterrupt()) == ("interrupted", 130)
    assert distributed._reason(WatchError("lost")) == ("WatchError: lost", 1)
