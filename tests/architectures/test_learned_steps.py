"""A learned STEPS as an ensemble."""

from convlstm.architectures.extrapolation import advect
from convlstm.architectures.learned_steps import LearnedSTEPS
from convlstm.architectures.member_draws import even, evenly_normal, motion_errors, noise_at
from convlstm.architectures.member_quantiles import LEVELS, at_members
from convlstm.architectures.motion import motion
from convlstm.ensemble_losses import EnsembleScore
from convlstm.training.step import make_step
from tests.support.project import PROJECT
from tests.support.reference import close, normal

import hydra
import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map
from omegaconf import OmegaConf

SMALL = {"members": 3, "hidden_channels": [6], "levels": 4, "training_members": 2, "training_leads": 2}


def rain(shift=(0.0, 1.0), size=(24, 32), frames=3):
    """Returns a smooth field that moves, (1, T, H, W, 1)."""
    rows, columns = np.indices(size, np.float32)
    fields = [
        0.4 + 0.2 * np.sin((rows - t * shift[0]) / 3) * np.cos((columns - t * shift[1]) / 4) for t in range(frames)
    ]
    return mx.array(np.stack(fields).astype(np.float32))[None, ..., None]


def built(rng=None, **options):
    """Returns a small model for forecasts; with a generator, its weights are random."""
    model = LearnedSTEPS(**SMALL | options)
    if rng is not None:
        for part, strength in ((model.maps, 0.3), (model.quantiles, 0.05)):
            part.update(tree_map(lambda a, strength=strength: normal(rng, a.shape, strength), part.parameters()))
    model.eval()
    return model


def test_without_decay_and_errors_members_are_the_extrapolation():
    x = rain()
    model = built()
    model.lifetime = mx.array([40.0, 0.0])
    model.motion_errors = mx.array([[-40.0, -40.0, 1.0]] * 2)
    model.smoothness = mx.array([0.0, 0.0])
    members = model(x, 4)
    assert members.shape == (3, 1, 4, 24, 32, 1)
    expected = advect(x[:, -1], motion(x), 4)
    for member in members:
        close(member, expected, 2e-4)


def test_bands_fade_by_the_minute_and_km_whatever_the_step():
    x = rain((0.0, 0.0))
    model = built(minutes=5, pixel_km=2)
    one, two = (
        model.shared(x, mx.array(steps), mx.array([minutes]), mx.array([2.0]), max(steps))
        for steps, minutes in (([1, 2], 10.0), ([2, 4], 5.0))
    )
    close(one.mean, two.mean, 1e-5)
    for a, b in zip(one.noise, two.noise, strict=True):
        close(a, b, 1e-5)
    # l = 1.2 min / km x 3 pixels of 2^k x 2 km; all that fades in a band is in its noise.
    lifetime = 1.2 * 3 * 2 ** np.arange(4) * 2
    close(one.lifetime[0], lifetime, 1e-5)
    ratio = one.noise[1] / mx.sqrt(1 - mx.exp(-2 * one.lead / lifetime[1]))[..., None, None]
    close(ratio[:, 0], ratio[:, 1], 1e-4)
    wider = model.shared(x, mx.array([1, 2]), mx.array([10.0]), mx.array([4.0]), 2)
    close(wider.lifetime, 2 * one.lifetime, 1e-5)
    assert wider.mean.var() > one.mean.var()


def test_noise_has_variance_one_and_forgets_by_its_lifetime():
    model = built()
    shared = model.shared(rain(size=(128, 128)), mx.array([1, 2]), mx.array([6.0]), mx.array([2.0]), 2)
    before = noise_at(shared, 0, [], (40, 1), mx.random.key(1))
    after = noise_at(shared, 1, before, (40, 1), mx.random.key(2))
    for k in range(3):
        first, second = np.array(before[k]), np.array(after[k])
        assert first.var() == pytest.approx(1, abs=0.07)
        assert second.var() == pytest.approx(1, abs=0.07)
        expected = np.exp(-6 / shared.lifetime[0, k].item())
        assert (first * second).mean() == pytest.approx(expected, abs=0.07)


@pytest.mark.parametrize("members", [2, 7, 8, 24])
def test_draws_of_noise_are_even_over_the_members(members):
    free = mx.random.normal((members, 3, 20, 30), key=mx.random.key(1))
    draws = np.array(even(free))
    assert np.abs(draws.mean(axis=0)).max() < 1e-6
    variance = (draws**2).mean(axis=0)
    assert variance.mean() == pytest.approx(1 - 1 / members, abs=0.05)
    if members < 8:  # members differ from each other as before
        close(draws[0] - draws[1], np.array(free)[0] - np.array(free)[1], 1e-5)
    else:
        close(variance, np.full((3, 20, 30), 1 - 1 / members), 1e-4)


def test_the_mean_of_the_members_has_little_noise():
    model, x = built(members=24), rain()
    means = np.stack([np.array(model(x, 1, key=mx.random.key(k))).mean(axis=0) for k in range(6)])
    members = np.array(model(x, 1, key=mx.random.key(9)))
    # The mean of free draws would vary by a 24th of the members' variance.
    assert means.var(axis=0).mean() < 0.5 * members.var(axis=0).mean() / 24


def test_errors_of_the_motion_grow_with_lead_time_and_speed():
    model = built()
    model.motion_errors = mx.array([[np.log(6.0), np.log(0.5), 1.0], [np.log(3.0), -40.0, 0.5]])
    shared = model.shared(rain((0, 2)), mx.array([6, 12]), mx.array([5.0]), mx.array([2.0]), 12)
    speed = float(mx.sqrt((motion(rain((0, 2)), points=16) ** 2).sum(axis=-1)).mean()) * 2 * 12
    close(shared.errors[0], [[(6 + 0.5 * speed) * t / 2 for t in (0.5, 1)]], 1e-4)
    close(shared.errors[1], [[3 * t**0.5 / 2 for t in (0.5, 1)]], 1e-4)
    whole, local = motion_errors((30, 1), (192, 192), mx.random.key(1), mx.random.key(2))
    assert whole.shape == (30, 1, 2, 1, 1)
    assert np.array(local)[..., 32:-32, 32:-32].std() == pytest.approx(1, abs=0.1)
    assert mx.abs(local[..., 1:] - local[..., :-1]).max() < 0.3  # smooth


def test_the_motions_of_members_are_spread_evenly():
    draws = np.array(evenly_normal((24, 3), mx.random.key(2)))
    assert draws.shape == (24, 3, 2)
    assert np.abs(draws.mean(axis=0)).max() < 0.1
    assert draws.std(axis=0) == pytest.approx(1, abs=0.08)
    assert np.abs(draws[:, 0] - draws[:, 1]).max() > 0.1
    apart = np.linalg.norm(draws[:, None] - draws[None], axis=-1) + 9 * np.eye(24)[..., None]
    assert apart.min() > 0.25


def test_a_band_can_be_that_of_both_last_frames():
    x = mx.array(np.stack([np.full((24, 32), 0.2), np.full((24, 32), 0.6)]).astype(np.float32))[None, ..., None]
    model = built()
    bias = np.zeros(16 + 12, np.float32)
    bias[-4:] = 20  # a share of 1/2
    model.maps.output.bias = mx.array(bias)
    shared = model.shared(x, mx.array([1]), mx.array([5.0]), mx.array([2.0]), 1)
    close(shared.mean, np.full((1, 1, 24, 32), 0.4), 1e-3)


def test_corrected_members_keep_their_ranks_and_get_the_quantiles():
    model, x = built(members=4), rain()
    before = np.array(model(x, 2))
    bias = np.linspace(-0.2, 0.2, len(LEVELS), dtype=np.float32)
    model.quantiles.of_pixels.bias = mx.array(bias)
    after = np.array(model(x, 2))
    order = np.argsort(before, axis=0)
    change = np.take_along_axis(after - before, order, axis=0)[:, before.min(axis=0) > 0.1]
    assert change.shape[1] > 500
    expected = np.array(at_members(mx.array(bias / 4), 4))[:, None]
    close(change, np.broadcast_to(expected, change.shape), 1e-4)


def test_a_batch_has_the_members_of_its_sequences(rng):
    model = built(rng)
    x = mx.concatenate([rain(), rain((1.0, 0.0))])
    facts = {"minutes": mx.array([5.0, 10.0]), "pixel_km": mx.array([2.0, 1.0])}
    both = model(x, 3, **facts)
    for n in range(2):
        alone = model(x[n : n + 1], 3, **{name: fact[n : n + 1] for name, fact in facts.items()})
        close(both[:, n : n + 1], alone, 1e-5)
    close(model(x, 3, **facts), both, 0)
    close(model.mean(x, 3, **facts), both.mean(axis=0), 0)
    assert mx.abs(both[0] - both[1]).max() > 1e-3
    assert mx.abs(model(x, 3) - both).max() > 1e-3  # the steps matter
    for other in ({"seed": 4}, {"key": mx.random.key(3)}):
        changed = built(None, seed=other.get("seed", 0))
        changed.update(model.parameters())
        assert mx.abs(changed(x, 3, **facts, **{k: v for k, v in other.items() if k == "key"}) - both).max() > 1e-3


@pytest.mark.parametrize("size", [(24, 32), (20, 12), (4, 36)])
def test_any_grid_of_patches_and_any_horizon(size, rng):
    members = built(rng)(rain(size=size), 5)
    assert members.shape == (3, 1, 5, *size, 1)
    assert mx.isfinite(members).all()
    assert members.min() >= 0


def test_the_network_walks_over_every_frame(rng):
    model, x = built(rng), rain()
    before = model.shared(x, mx.array([3]), mx.array([5.0]), mx.array([2.0]), 3).mean
    for t in range(2):
        other = mx.array(np.array(x))
        other[:, t] = 0.1
        after = model.shared(other, mx.array([3]), mx.array([5.0]), mx.array([2.0]), 3).mean
        assert mx.abs(after - before).max() > 1e-4, t


def test_training_scores_some_lead_times_of_the_targets():
    model = built()
    model.train()
    x, targets = rain((0.0, 0.0)), mx.arange(5, dtype=mx.float32).reshape(1, 5, 1, 1, 1) + mx.zeros((1, 5, 24, 32, 1))
    seen = []

    def loss(members, target, mask):
        assert members.shape == (2, 1, 2, 24, 32, 1)
        seen.append(np.array(target)[0, :, 0, 0, 0].tolist())
        assert (mask == (target != 0)).all()
        return mx.abs(members - target).mean()

    for n in range(12):
        value, same = model.training_loss(loss, x, targets, targets / 10, mx.random.key(n))
        assert value.item() == same.item()
    assert all(a < b for a, b in seen)
    assert {lead for leads in seen for lead in leads} == {0, 1, 2, 3, 4}


def test_training_does_not_count_air_from_outside_of_the_frame_and_long_lead_times():
    model = built(training_minutes=16, training_leads=4)
    model.train()
    masks = []

    def loss(members, target, mask):
        masks.append(np.array(mask)[0, ..., 0])
        return members.mean()

    model.training_loss(loss, rain((0.0, 1.0)), mx.zeros((1, 4, 24, 32, 1)), None, mx.random.key(0))
    assert [round(32 - mask.mean() * 32) for mask in masks[0]] == [1, 2, 3, 32]
    assert masks[0][:3, :, 4:].all()


def test_gradients_are_those_of_differences(rng):
    model = built(rng, training_members=3)
    model.train()
    # Larger than the coarsest grid of the motion, so that there is more than one.
    x, targets = rain((1.0, 0.5), (40, 48)), rain(size=(40, 48), frames=4)
    model.smoothness = mx.array([0.2, 0.1])
    loss = EnsembleScore((1, 4), spectrum_weight=0.1)

    # Far from the border: which pixels count must not depend on the motion.
    mask = mx.zeros_like(targets)
    mask[:, :, 8:-8, 8:-8] = 1

    def value():
        return model.training_loss(loss, x, targets, mask, mx.random.key(5))[0]

    _, gradients = nn.value_and_grad(model, value)()
    for name, step in (("motion_errors", 1e-2), ("lifetime", 1e-2), ("smoothness", 2e-2)):
        array = getattr(model, name)
        direction = mx.sign(gradients[name]) + (gradients[name] == 0)
        up, down = [], []
        for sign, into in ((1, up), (-1, down)):
            setattr(model, name, array + sign * step * direction)
            into.append(value().item())
        setattr(model, name, array)
        slope = (up[0] - down[0]) / (2 * step)
        assert slope == pytest.approx((gradients[name] * direction).sum().item(), rel=0.15), name
    for name, gradient in tree_flatten(gradients):
        assert mx.abs(gradient).max() > 0, name


def test_a_few_steps_lower_the_loss():
    mx.random.seed(0)
    model = built(training_members=2)
    model.train()
    x, targets = rain((0.0, 1.0)), rain((0.0, 1.0), frames=7)[:, 3:] * 0.6
    optimizer = optim.Adam(1e-3)
    optimizer.init(model.trainable_parameters())
    step = make_step(model, optimizer, EnsembleScore((1, 4), rate_weight=0.0, spectrum_weight=0.0))
    batch = {"inputs": x, "targets": targets, "minutes": mx.array([10.0]), "pixel_km": mx.array([1.0])}
    losses = [step(batch, mx.random.key(n))[0].item() for n in range(40)]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"hidden_channels": []}, "'hidden_channels' must name at least one layer"),
        ({"in_channels": 2}, "'in_channels' must be 1, that of rain, but got 2"),
        ({"patch_size": 3}, "'patch_size' must be a power of two but got 3"),
        ({"patch_size": 16}, r"'patch_size' must be below 2\^levels but got 16"),
        ({"members": 1}, "'members' must be a whole number of at least 2 but got 1"),
        ({"minutes": 0}, "'minutes' must be above 0 but got 0"),
        ({"pixel_km": -1}, "'pixel_km' must be above 0 but got -1"),
        ({"levels": 2}, "'levels' must be a whole number of at least 3 but got 2"),
        ({"training_members": 1}, "'training_members' must be a whole number of at least 2 but got 1"),
        ({"training_leads": 0}, "'training_leads' must be a whole number of at least 1 but got 0"),
        ({"training_minutes": 0}, "'training_minutes' must be above 0 but got 0"),
        ({"seed": -1}, "'seed' must be a whole number of at least 0 but got -1"),
    ],
)
def test_arguments_that_are_refused(options, text):
    with pytest.raises(ValueError, match=rf"\[LearnedSTEPS\] {text}"):
        LearnedSTEPS(**SMALL | options)


def test_frames_that_are_refused():
    with pytest.raises(ValueError, match="frames of 22x32 cannot be cut into patches of 4x4"):
        built()(rain(size=(22, 32)), 2)
    with pytest.raises(ValueError, match="'horizon' must be at least 1 but got 0"):
        built()(rain(), 0)


def test_the_configuration_has_the_defaults():
    config = OmegaConf.load(PROJECT / "configs/model/learned_steps.yaml")
    model = hydra.utils.instantiate(config, _convert_="all")
    other = LearnedSTEPS()
    for name in ("size", "minutes", "pixel_km", "levels", "training_members", "training_leads", "seed"):
        assert getattr(model, name) == getattr(other, name)
    assert [n for n, _ in tree_flatten(model.parameters())] == [n for n, _ in tree_flatten(other.parameters())]
    assert sum(a.size for _, a in tree_flatten(other.parameters())) * 4 < 4e6


def test_values_below_dry_are_as_zero_in_frames_targets_and_forecasts(rng):
    frames = rain()
    weak = mx.where(frames < 0.3, 0.02, frames)
    model = built(rng, dry=0.3)
    members = model(weak, 2)
    assert mx.array_equal(members, model(mx.where(weak < 0.3, 0, weak), 2))
    assert (members == 0).any()
    assert not ((members > 0) & (members < 0.3)).any()
    assert not mx.array_equal(built(rng)(weak, 2), built(rng)(frames, 2))

    loss, key = EnsembleScore(), mx.random.key(3)
    model.train()
    values = [
        model.training_loss(loss, x, y, None, key)[0].item()
        for x, y in ((weak, weak), (mx.where(weak < 0.3, 0, weak), mx.where(weak < 0.3, 0.25, weak)))
    ]
    assert values[0] == values[1]
