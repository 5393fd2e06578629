"""The sample that codebooks and mixtures are learned from, and its units."""

import numpy as np
import pytest
import torch
from tolerance import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from sklinvariant import DescriptorSets
from sklinvariant.accumulate import Blocks
from sklinvariant.aggregation._codebook import draw_sample, measure_units
from sklinvariant.base import torch_generator


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_units_are_the_weighted_mean_and_spread(dtype, scale):
    rng = np.random.RandomState(0)
    x, weights = (rng.normal(size=(9000, 3)) + 5) * scale, rng.uniform(1, 2, 9000)
    units = measure_units(Blocks(*(torch.as_tensor(part, dtype=dtype) for part in (x, weights))))
    mean = np.average(x, axis=0, weights=weights)
    rest = (x - mean) / scale
    spread = scale * np.sqrt(np.average((rest**2).mean(1), weights=weights))
    np.testing.assert_allclose(units.shift, mean, rtol=1e-6)
    np.testing.assert_allclose(units.scale, spread, rtol=1e-6)


@pytest.mark.parametrize(("value", "scale"), [(0.0, 1.0), (7.0, 7.0)])
def test_units_of_equal_descriptors(value, scale):
    units = measure_units(Blocks(torch.full((10, 2), value), torch.ones(10)))
    assert_close(units.shift, [value, value])
    assert float(units.scale) == pytest.approx(scale)


def test_a_sample_is_in_own_units_and_leaves_the_data_alone():
    x = torch.as_tensor(np.random.RandomState(0).normal(size=(50, 2)) * 3 + 1e6)
    before = x.clone()
    sample = draw_sample(DescriptorSets(x, [0, 20, 50]), None, torch_generator(0), "cpu")
    assert torch.equal(x, before)
    values = sample.blocks.take(slice(None))
    np.testing.assert_allclose(values.mean(0), 0, atol=1e-8)  # the last digits of 1e6
    np.testing.assert_allclose(values.square().mean(), 1)
    np.testing.assert_allclose(sample.outward(values), before, rtol=1e-12)


def test_a_sample_of_float32_makes_no_float64_copy():
    class LargestDouble(TorchDispatchMode):
        rows = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.dtype == torch.float64 and result.ndim == 2:
                self.rows = max(self.rows, len(result))
            return result

    bags = DescriptorSets(torch.ones(50_000, 4).cumsum(0), np.arange(0, 50_001, 10))
    with LargestDouble() as largest:
        draw_sample(bags, None, torch_generator(0), "cpu")
    assert 0 < largest.rows < 10_000


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_descriptors_whose_squares_cannot_be_held_are_refused(scale):
    with pytest.raises(ValueError, match="must fit into float64"):
        measure_units(Blocks(torch.eye(20, dtype=torch.float64) * scale, torch.ones(20)))
