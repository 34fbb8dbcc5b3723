"""Objects from a checkpoint's description, and the code that it must not run."""

import re

from convlstm.checkpoints.build import TRUSTED, UntrustedTargetError, build, check_targets, resolve
from convlstm.layers import ConvLSTM
from convlstm.losses import BinaryCrossEntropy, MeanSquaredError, WeightedSum
from convlstm.models import EncoderForecaster

import mlx.nn as nn
import pytest

OUTSIDE = "is outside the trusted packages (convlstm, mlx.nn), so it was not loaded."
NO_CLASS = "is not a class defined in a trusted package"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("convlstm.models.EncoderForecaster", EncoderForecaster),
        ("convlstm.EncoderForecaster", EncoderForecaster),
        ("convlstm.losses.WeightedSum", WeightedSum),
        # Where another module of a trusted package imports it.
        ("convlstm.models.ConvLSTM", ConvLSTM),
        ("mlx.nn.Conv2d", nn.Conv2d),
        ("convlstm.models.nn.Linear", nn.Linear),
    ],
)
def test_resolve(target, expected):
    assert resolve(target) is expected


def test_resolve_imports_modules():
    assert (
        resolve("convlstm.datasets.moving_mnist.MovingMNIST", ["convlstm.datasets"]).__module__
        == "convlstm.datasets.moving_mnist"
    )


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("os.system", f"'_target_: os.system' {OUTSIDE}"),
        ("builtins.eval", f"'_target_: builtins.eval' {OUTSIDE}"),
        ("pathlib.Path", f"'_target_: pathlib.Path' {OUTSIDE}"),
        ("convlstm_evil.Model", f"'_target_: convlstm_evil.Model' {OUTSIDE}"),
        ("", f"'_target_: ' {OUTSIDE}"),
        (None, f"'_target_: None' {OUTSIDE}"),
        (7, f"'_target_: 7' {OUTSIDE}"),
        # What a trusted module imported from elsewhere.
        ("convlstm.backend.files.os.system", NO_CLASS),
        ("convlstm.runs.record.Path", NO_CLASS),
        ("convlstm.checkpoints.build.importlib.import_module", NO_CLASS),
        (
            "convlstm.datasets.moving_mnist.MovingMNIST",
            f"'_target_: convlstm.datasets.moving_mnist.MovingMNIST' {OUTSIDE}",
        ),
        ("mlx.optimizers.Adam", f"'_target_: mlx.optimizers.Adam' {OUTSIDE}"),
        ("convlstm.training.loop.optim.Adam", NO_CLASS),
        # Modules of others are not looked into, not even for what they do not have.
        ("convlstm.backend.files.os.nosuch", NO_CLASS),
        ("convlstm.models.mx.distributed.init", NO_CLASS),
        ("mlx.nn.layers.base.textwrap.TextWrapper", NO_CLASS),
        # What a trusted package defines, but no class.
        ("mlx.core.save", f"'_target_: mlx.core.save' {OUTSIDE}"),
        ("mlx.core.load", f"'_target_: mlx.core.load' {OUTSIDE}"),
        ("mlx.core.float32", f"'_target_: mlx.core.float32' {OUTSIDE}"),
        ("convlstm.checkpoints.build.build", NO_CLASS),
        ("convlstm.training.schedules.constant", NO_CLASS),
        ("convlstm", NO_CLASS),
        ("convlstm.models", NO_CLASS),
        ("convlstm.losses.MeanSquaredError.__class__", NO_CLASS),
        ("convlstm.losses.MeanSquaredError.__subclasses__", NO_CLASS),  # its __module__ is None
        ("convlstm.losses.MeanSquaredError.__doc__", NO_CLASS),
        ("convlstm.losses.MeanSquaredError.__base__", NO_CLASS),
        # What there is not.
        ("convlstm.nosuch", "'_target_: convlstm.nosuch' does not exist: there is no 'nosuch'."),
        ("convlstm.models.NoSuch", "'_target_: convlstm.models.NoSuch' does not exist: there is no 'NoSuch'."),
        ("convlstm.nosuch.os.system", "does not exist: there is no 'nosuch'."),
        ("convlstm.", "does not exist: there is no ''."),
        ("convlstm..models", "does not exist: there is no ''."),
    ],
)
def test_only_classes_of_trusted_packages(target, message):
    for attempt in (lambda: resolve(target), lambda: build({"_target_": target})):
        with pytest.raises(UntrustedTargetError, match=re.escape(message)):
            attempt()


def test_the_error_explains_how_to_trust_a_package():
    with pytest.raises(UntrustedTargetError, match=re.escape("name the package as trusted: trusted=[fractions].")):
        resolve("fractions.Fraction")
    assert str(build({"_target_": "fractions.Fraction", "numerator": 3}, trusted=["fractions"])) == "3"
    with pytest.raises(UntrustedTargetError, match=re.escape("is outside the trusted packages (fractions)")):
        build({"_target_": "convlstm.losses.MeanSquaredError"}, trusted=["fractions"])
    assert TRUSTED == ("convlstm", "mlx.nn")


def test_the_kind_applies_to_nested_objects():
    linear = {"_target_": "mlx.nn.Linear", "input_dims": 2, "output_dims": 3}
    with pytest.raises(UntrustedTargetError, match=r"losses\.MeanSquaredError' is not a Module, so it was not loaded"):
        build(linear | {"bias": [{"deep": {"_target_": "convlstm.losses.MeanSquaredError"}}]}, kind=nn.Module)
    with pytest.raises(UntrustedTargetError, match=r"mlx\.nn\.Linear' is not a MeanSquaredError"):
        build({"_target_": "convlstm.losses.WeightedSum", "losses": [linear]}, inside=MeanSquaredError)
    loss = {"_target_": "convlstm.losses.WeightedSum", "losses": [{"_target_": "convlstm.losses.MeanSquaredError"}]}
    assert type(build(loss, inside=MeanSquaredError).losses[0]) is MeanSquaredError


def test_classes_of_a_package_that_is_named_need_no_kind():
    with pytest.raises(UntrustedTargetError, match=r"losses\.WeightedSum' is not a Module"):
        resolve("convlstm.losses.WeightedSum", kind=nn.Module)
    assert str(build({"_target_": "fractions.Fraction", "numerator": 3}, [*TRUSTED, "fractions"], nn.Module)) == "3"
    # But not for what it got from ours.
    with pytest.raises(
        UntrustedTargetError, match=r"tests\.support\.tiny\.Path.* is not a class defined in a trusted package"
    ):
        resolve("tests.support.tiny.Path", ["tests"])
    with pytest.raises(UntrustedTargetError, match=r"tests\.support\.tiny\.MovingMNIST' is not a Module"):
        resolve("tests.support.tiny.MovingMNIST", ["tests", "convlstm.datasets"], nn.Module)


def test_all_targets_are_resolved_before_anything_is_built():
    built = []

    class Seen(MeanSquaredError):
        def __init__(self):
            built.append(self)

    Seen.__module__ = "convlstm.losses"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convlstm.losses.Seen", Seen, raising=False)
        description = {"losses": [{"_target_": "convlstm.losses.Seen"}, {"_target_": "os.system", "command": "true"}]}
        with pytest.raises(UntrustedTargetError, match=r"os\.system"):
            build(description)
        with pytest.raises(UntrustedTargetError, match=r"os\.system"):
            check_targets(description)
        assert built == []
        check_targets(description["losses"][0])
        assert built == []
        build(description["losses"][0])
        assert len(built) == 1


def test_a_class_of_another_kind_is_refused_before_its_arguments_are_built():
    description = {"_target_": "convlstm.losses.MeanSquaredError", "of": {"_target_": "os.system", "command": "true"}}
    with pytest.raises(UntrustedTargetError, match=r"'_target_: convlstm.losses.MeanSquaredError' is not a Module"):
        build(description, kind=nn.Module)
    assert isinstance(
        build({"_target_": "mlx.nn.Linear", "input_dims": 2, "output_dims": 3}, kind=nn.Module), nn.Linear
    )


def test_no_class_of_a_trusted_package_starts_a_program(tmp_path):
    description = {
        "_target_": "mlx._distributed_utils.launch.RemoteProcess",
        "rank": 0,
        "host": "127.0.0.1",
        "python": None,
        "cwd": str(tmp_path),
        "files": {},
        "env": [],
        "command": ["touch", "it_ran"],
    }
    with pytest.raises(UntrustedTargetError):
        build(description).process.communicate()
    assert list(tmp_path.iterdir()) == []


def test_build_a_model_with_its_arguments():
    model = build(
        {
            "_target_": "convlstm.models.EncoderForecaster",
            "in_channels": 2,
            "hidden_channels": [3, 4],
            "kernel_size": 3,
            "downsample": [None, {"channels": 5, "kernel_size": 3, "stride": 2, "padding": 1}],
            "upsample": None,
        }
    )
    assert isinstance(model, EncoderForecaster)
    assert (model.in_channels, model.downsample[1].conv.weight.shape) == (2, (5, 3, 3, 3))


def test_nested_objects_are_built():
    loss = build(
        {
            "_target_": "convlstm.losses.WeightedSum",
            "losses": [
                {"_target_": "convlstm.losses.MeanSquaredError"},
                {"_target_": "convlstm.losses.BinaryCrossEntropy", "epsilon": 0.01},
            ],
            "weights": [1.0, 2.0],
        }
    )
    assert [type(part) for part in loss.losses] == [MeanSquaredError, BinaryCrossEntropy]
    assert (loss.losses[1].epsilon, loss.weights) == (0.01, [1.0, 2.0])


@pytest.mark.parametrize(
    "inside", [{"losses": [{"_target_": "os.system"}]}, {"losses": {"a": {"_target_": "os.system"}}}]
)
def test_nested_targets_are_checked(inside):
    with pytest.raises(UntrustedTargetError, match=re.escape(f"'_target_: os.system' {OUTSIDE}")):
        build({"_target_": "convlstm.losses.WeightedSum", **inside})


@pytest.mark.parametrize("value", [3, 0.5, "os.system", None, True, [1, [2, "a"]], {"a": {"b": [None, 1]}}])
def test_plain_values_are_returned(value):
    assert build(value) == value


def test_list_of_descriptions():
    first, second = build([{"_target_": "convlstm.losses.MeanSquaredError"}, 3])
    assert isinstance(first, MeanSquaredError)
    assert second == 3


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"_target_": "convlstm.losses.MeanSquaredError", "weight": 1}, "got an unexpected keyword argument 'weight'."),
        (
            {"_target_": "convlstm.losses.MeanSquaredError", "_partial_": True},
            "unexpected keyword argument '_partial_'.",
        ),
        ({"_target_": "convlstm.losses.WeightedSum"}, "missing a required argument: 'losses'."),
        ({"_target_": "convlstm.losses.MeanSquaredError", 1: 2}, "convlstm.losses.MeanSquaredError: "),
    ],
)
def test_wrong_arguments(description, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        build(description)
    assert str(caught.value).startswith(description["_target_"])
    assert not isinstance(caught.value, UntrustedTargetError)


def test_errors_of_the_constructor_come_through():
    with pytest.raises(
        ValueError, match=re.escape("[BinaryCrossEntropy] 'epsilon' must be at least 1e-07 and below 0.5 but got 2")
    ):
        build({"_target_": "convlstm.losses.BinaryCrossEntropy", "epsilon": 2})
