"""What both estimators with the network of the equivariant autoencoder share."""

import numpy as np
import pytest
import torch
from tolerance import assert_close

from sklinvariant.autoencoder import CanonicalRotation, EquivariantAutoencoder

ESTIMATORS = [CanonicalRotation, EquivariantAutoencoder]
QUICK = {"latent_channels": 2, "width": 2, "depth": 1, "max_epochs": 1, "random_state": 0}


@pytest.fixture
def images():
    return np.random.RandomState(0).rand(12, 6, 6).astype(np.float32)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_fit_goes_on_with_the_same_network_alone(estimator, images):
    model = estimator(**QUICK, warm_start=True).fit(images)
    weights = model._state["weights"]["encoder.0.weight"].copy()
    assert len(model.fit(images).history_) == 2
    assert not np.allclose(model._state["weights"]["encoder.0.weight"], weights)
    with pytest.raises(ValueError, match="different latent_channels, width"):
        model.set_params(latent_channels=3, width=3).fit(images)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_network_that_is_restored_is_that_of_the_fit(estimator, images):
    model = estimator(**QUICK).fit(images)
    network, shift, scale = model._network(torch.zeros(0))
    assert not network.training
    assert_close(shift.ravel(), images.mean()[None], rtol=1e-4)
    assert_close(scale.ravel(), images.std()[None], rtol=1e-4)
    for name, value in network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), model._state["weights"][name])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_layers_of_another_size_are_refused(estimator, images):
    model = estimator(**QUICK).fit(images)
    model._state["weights"] = {**model._state["weights"], "encoder.4.weight": np.zeros((1, 2), dtype=np.float32)}
    with pytest.raises(ValueError, match=r"encoder\.4\.weight should be of shape"):
        model._check_layout()
