"""Structural similarity beside scikit-image's and a slow reference."""

from convlstm.metrics.ssim import structural_similarity
from tests.support.frame_pairs import pair

import numpy as np
import pytest


@pytest.mark.parametrize("shape", [(4, 64, 64, 1), (3, 7, 20, 1), (2, 24, 15, 3)])
@pytest.mark.parametrize("data_range", [1.0, 2.0])
def test_ssim_is_that_of_scikit_image(shape, data_range):
    reference = pytest.importorskip("skimage.metrics").structural_similarity
    forecast, target = pair(*shape, dtype=np.float64)
    expected = [reference(f, t, data_range=data_range, channel_axis=-1) for f, t in zip(forecast, target, strict=True)]
    ours = structural_similarity(forecast, target, (data_range,))
    np.testing.assert_allclose(ours[0], expected, rtol=1e-10)


def test_ssim_of_valid_windows_is_the_naive_loop():
    forecast, target = pair(12, 10, 1, dtype=np.float64)
    valid = np.ones((12, 10, 1), bool)
    valid[2, 3], valid[9, 9] = False, False
    values = []
    for i in range(6):
        for j in range(4):
            window = slice(i, i + 7), slice(j, j + 7)
            if valid[window].all():
                x, y = forecast[window].ravel(), target[window].ravel()
                (vx, cov), (_, vy) = np.cov(x, y)
                first = (2 * x.mean() * y.mean() + 1e-4) / (x.mean() ** 2 + y.mean() ** 2 + 1e-4)
                values.append(first * (2 * cov + 9e-4) / (vx + vy + 9e-4))
    assert 0 < len(values) < 24
    assert structural_similarity(forecast, target, valid=valid) == pytest.approx(np.mean(values))


def test_ssim_blocks_do_not_matter():
    forecast, target = pair(19, 40, 40, 1)
    together = structural_similarity(forecast, target)
    alone = [structural_similarity(f, t)[()] for f, t in zip(forecast, target, strict=True)]
    np.testing.assert_array_equal(together[0], np.concatenate(alone))
