"""The scaling of rows, and its choice without labels."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris, load_wine
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import normalize, scale
from tolerance import assert_close

from sklinvariant import IICClusterer, load, save
from sklinvariant.cluster import _scaling
from sklinvariant.cluster._scaling import Scaling, choose_scaling


def test_standard_is_that_of_scikit_learn():
    X = load_wine().data
    rows = torch.tensor(X)
    assert_close(Scaling.of(rows, "standard")(rows), scale(X))


def test_roots_have_unit_length_before_they_are_centred():
    X = np.random.RandomState(0).rand(20, 5)
    rows = torch.tensor(X)
    scaling = Scaling.of(rows, "roots")
    assert_close(scaling(rows) * scaling.scale + scaling.shift, normalize(np.sqrt(X)))
    assert torch.equal(scaling(-rows), scaling(torch.zeros_like(rows)))  # negative values count as 0


def test_none_keeps_the_proportions_of_distances():
    rows = torch.tensor(load_iris().data)
    scaled = Scaling.of(rows, None)(rows)
    assert_close(scaled.mean(0), torch.zeros(4, dtype=torch.float64), atol=1e-12)
    assert_close(scaled * rows.sub(rows.mean(0)).square().mean().sqrt(), rows - rows.mean(0))


@pytest.mark.parametrize("kind", [None, "standard"])
def test_many_rows_are_scaled_in_parts(monkeypatch, kind):
    rows = torch.tensor(load_wine().data)
    whole = Scaling.of(rows, kind)
    monkeypatch.setattr(_scaling, "_AT_ONCE", 100)
    assert_close(Scaling.of(rows, kind).scale, whole.scale)


@pytest.mark.parametrize("n_at_once", [1, 1 << 20])
def test_images_of_integers_are_scaled_as_their_floats(monkeypatch, n_at_once):
    monkeypatch.setattr(_scaling, "_AT_ONCE", n_at_once)
    images = torch.randint(256, (7, 5, 4, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    values = images.double() / 255
    scaling = Scaling.of(images, None)
    assert_close(scaling.shift, values.mean((0, 1, 2)).float())
    assert_close(scaling.scale, (values - values.mean((0, 1, 2))).square().mean().sqrt().float())


def test_constant_features_do_not_divide_by_zero():
    rows = torch.ones(5, 3)
    for kind in (None, "standard", "roots"):
        assert Scaling.of(rows, kind)(rows).abs().max() == 0


def chosen(rows, *, best=None):
    """The choice if the scaling ``best`` gives pairs the most information, and the scalings that were compared."""
    compared, plain = [], Scaling.of(rows, None)(rows).sort(0).values

    def information(scaled):
        compared.append(None if torch.allclose(scaled.sort(0).values, plain, atol=1e-5) else "roots")
        return float(compared[-1] == best)

    return choose_scaling(rows, information, torch.Generator().manual_seed(0)), compared


@pytest.mark.parametrize("best", [None, "roots"])
def test_information_decides_for_values_that_begin_at_zero(best):
    rows = torch.rand(50, 4, generator=torch.Generator().manual_seed(1))
    assert chosen(rows, best=best) == (best, [None, "roots"])


def test_other_rows_are_not_compared():
    rows = torch.rand(50, 4, generator=torch.Generator().manual_seed(1))
    assert chosen(rows - 0.5, best="roots") == (None, [])  # negative values
    assert chosen(rows + 5, best="roots") == (None, [])  # 0 is an arbitrary origin
    assert chosen(rows * torch.tensor([1, 1, 1, 100]), best="roots") == ("standard", [])  # other units
    assert choose_scaling(rows, None, torch.Generator()) is None  # pairs that do not depend on the scaling


def test_features_in_different_units(blobs, tmp_path):
    """One feature of noise with large values does not decide, unless the rows shall stay as they are."""
    X, y = blobs
    X = np.column_stack([X, np.random.RandomState(0).rand(len(X)) * 10_000])
    params = {"n_neighbors": 5, "random_state": 0}
    model = IICClusterer(3, **params).fit(X)
    assert adjusted_rand_score(y, model.labels_) > 0.9
    assert adjusted_rand_score(y, IICClusterer(3, scale=None, **params).fit(X).labels_) < 0.5
    save(model, tmp_path / "model.safetensors")
    assert_close(load(tmp_path / "model.safetensors").transform(X), model.transform(X))


def test_roots_are_taken_of_new_samples_and_by_partial_fit(tmp_path):
    X = np.random.RandomState(0).rand(60, 6).astype(np.float32)
    model = IICClusterer(3, scale="roots", max_epochs=3, random_state=0).fit(X)
    assert_close(model.transform(7 * X), model.transform(X), rtol=1e-3)  # the length of a row has no effect
    save(model, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert_close(again.predict_proba(7 * X), model.predict_proba(X), rtol=1e-3)
    model.partial_fit(X)
    assert_close(model.transform(7 * X), model.transform(X), rtol=1e-3)
