"""ConvolutionalFeatures against extracting every patch; use in pipelines; seeds, files, bad input."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import NMF, PCA, IncrementalPCA, MiniBatchDictionaryLearning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tolerance import assert_close, assert_same_labels

from sklinvariant import BagOfWords, LearnedBoW, NestedInvariancePooler, load, save
from sklinvariant.autoencoder import SparseAutoencoder
from sklinvariant.feature_extraction import ConvolutionalFeatures, DensePatches
from sklinvariant.hashing import LSHHasher, PCAHasher
from sklinvariant.pooling import AutoPooling, SpatialPooling
from sklinvariant.transforms import Rotation

_DICTIONARY = MiniBatchDictionaryLearning(
    7, transform_algorithm="threshold", transform_alpha=0.5, split_sign=True, max_iter=5
)
_EXTRACTORS = {
    "k-means": (KMeans(7, n_init=1), {}),
    "mini-batch k-means": (MiniBatchKMeans(7, n_init=1), {}),
    "dictionary": (_DICTIONARY, {}),
    "autoencoder": (SparseAutoencoder(7, max_epochs=3), {}),
    "our k-means": (BagOfWords(7), {}),
    "no whitening": (KMeans(7, n_init=1), {"whiten": False}),
    "no contrast": (SparseAutoencoder(7, max_epochs=3), {"normalize": None}),
    "neither": (KMeans(7, n_init=1), {"normalize": None, "whiten": False}),
    "thresholded means": (KMeans(7, n_init=1), {"encoding": "soft_threshold", "threshold": 0.2}),
}


def _encode(features, rows):
    """The output of the fitted extractor for rows."""
    extractor = features.extractor_
    if isinstance(extractor, BagOfWords):
        distances = np.linalg.norm(rows[:, None] - extractor.codebook_, axis=2)
        return np.maximum(0, distances.mean(1, keepdims=True) - distances)
    if features.encoding == "soft_threshold":
        products = rows @ extractor.cluster_centers_.T
        return np.maximum(0, np.hstack([products, -products]) - features.threshold)
    found = extractor.transform(rows)
    if hasattr(extractor, "cluster_centers_"):
        return np.maximum(0, found.mean(1, keepdims=True) - found)
    return np.abs(found)  # a split code comes with its negative half negative


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("name", _EXTRACTORS)
def test_against_cutting_out_every_patch(images, name, stride):
    extractor, params = _EXTRACTORS[name]
    if name == "neither":  # flat patches would be centres themselves, whose distance is the root of rounding
        images = images[[2, 3, 4, 5, 2, 3]]
    features = ConvolutionalFeatures(
        extractor, patch_size=(5, 6), stride=stride, n_patches=700, batch_size=4, random_state=0, **params
    ).fit(images)
    maps = features.transform(images)
    assert maps.dtype == np.float32
    assert maps.min() >= 0
    patches = DensePatches((5, 6), stride=stride, normalize=features.normalize).fit_transform(images.astype(float))
    assert maps.shape[:3] == (6, 1 + 15 // stride, 1 + 11 // stride)
    expected = _encode(features, (patches.values - features.mean_) @ features.whitening_)
    atol = 1e-4 * max(1, expected.max())
    np.testing.assert_allclose(maps.reshape(len(expected), -1), expected, atol=atol)
    assert maps.std() > 1e-3
    exact = features.transform(images.astype(np.float64))
    assert exact.dtype == np.float64
    np.testing.assert_allclose(exact.reshape(expected.shape), expected, atol=1e-5)


def test_pooled_cells(images):
    features = ConvolutionalFeatures(KMeans(5, n_init=1), patch_size=5, random_state=0).fit(images)
    maps = features.transform(images)  # 16 x 13 cells
    pooled = features.set_params(pool=4).transform(images)
    expected = maps[:, :, :12].reshape(6, 4, 4, 3, 4, 5).mean((2, 4))
    np.testing.assert_allclose(pooled, expected, atol=1e-5)
    np.testing.assert_allclose(features.set_params(pool=99).transform(images)[:, 0, 0], maps.mean((1, 2)), atol=1e-5)


def test_brightness_and_contrast_do_not_matter(images):
    features = ConvolutionalFeatures(KMeans(5, n_init=1), patch_size=5, random_state=0).fit(images)
    bright = images[2:] * 0.5 + 0.3
    np.testing.assert_allclose(features.transform(bright + 0.1), features.transform(bright), atol=1e-4)
    busy = features.transform(images[2:])
    assert np.abs(features.transform(bright) - busy).mean() < 0.1 * busy.mean()


def test_moving_the_image_moves_the_map(images):
    features = ConvolutionalFeatures(KMeans(5, n_init=1), patch_size=5, random_state=0).fit(images)
    maps = features.transform(images)
    moved = features.transform(np.roll(images, (2, 1), axis=(1, 2)))
    np.testing.assert_allclose(moved[:, 2:, 1:], maps[:, :-2, :-1], atol=1e-4)


def test_a_fitted_extractor_is_taken_as_it_is(images):
    rows = DensePatches(5, normalize="contrast").fit_transform(images).values
    fitted = KMeans(5, n_init=1, random_state=0).fit(rows)
    for extractor in (fitted, FrozenEstimator(fitted)):
        features = ConvolutionalFeatures(extractor, patch_size=5, whiten=False).fit(images)
        assert features.extractor_ is extractor
        assert_close(features.filters_.reshape(5, -1), fitted.cluster_centers_)


@pytest.mark.parametrize(
    "kind",
    [
        lambda x: list(x),
        lambda x: [torch.as_tensor(image) for image in x],
        lambda x: torch.as_tensor(x),
        lambda x: x.astype(np.int64),
        lambda x: x / np.float32(255),
    ],
    ids=["list", "tensors", "tensor", "int64", "float32"],
)
def test_the_same_images_in_other_clothes(kind):
    images = np.random.RandomState(0).randint(256, size=(4, 9, 8, 3)).astype(np.uint8)
    features = ConvolutionalFeatures(KMeans(3, n_init=1), patch_size=4, random_state=0).fit(images)
    expected, found = features.transform(images), features.transform(kind(images))
    assert isinstance(found, torch.Tensor) == isinstance(kind(images)[0], torch.Tensor)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    flat = ConvolutionalFeatures(KMeans(3, n_init=1), patch_size=4, random_state=0, image_shape=(9, 8, 3))
    np.testing.assert_allclose(flat.fit_transform(images.reshape(4, -1)), expected, atol=1e-5)


def test_devices(images, device):
    features = ConvolutionalFeatures(SparseAutoencoder(4, max_epochs=1), patch_size=5, random_state=0).fit(images)
    maps = features.transform(torch.as_tensor(images, device=device))
    assert (maps.device.type, maps.dtype) == (device, torch.float32)
    np.testing.assert_allclose(maps.cpu(), features.transform(images), atol=1e-4)


def test_batches_do_not_change_the_answer(images):
    features = ConvolutionalFeatures(KMeans(5, n_init=1), patch_size=5, random_state=0).fit(images)
    expected = features.transform(images)
    np.testing.assert_allclose(features.set_params(batch_size=1).transform(images), expected, atol=1e-5)


def test_seeds_pickles_and_files(images, tmp_path):
    before = torch.get_rng_state()
    one, two, other = (
        ConvolutionalFeatures(MiniBatchKMeans(5, n_init=1), patch_size=5, n_patches=300, random_state=seed).fit(images)
        for seed in (0, 0, 1)
    )
    assert_close(one.filters_, two.filters_)
    assert np.abs(one.filters_ - other.filters_).max() > 1e-3
    assert one.extractor.random_state is None
    assert torch.equal(torch.get_rng_state(), before)
    again = pickle.loads(pickle.dumps(one))
    np.testing.assert_array_equal(again.transform(images), one.transform(images))
    ours = ConvolutionalFeatures(SparseAutoencoder(4, max_epochs=1), patch_size=5, random_state=0).fit(images)
    save(ours, tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").transform(images), ours.transform(images))


# What can follow it


@pytest.fixture
def digits():
    return load_digits().images[:200] / 16, load_digits().target[:200]


def test_maps_are_pooled_bagged_and_hashed(digits):
    images, y = digits
    features = ConvolutionalFeatures(MiniBatchKMeans(12, n_init=1), patch_size=3, random_state=0)
    maps = features.fit_transform(images)
    pooled = make_pipeline(features, SpatialPooling([(2, 2)])).fit_transform(images)
    assert_close(pooled[:, :12], maps[:, :3, :3].mean((1, 2)))
    bags = BagOfWords(5, random_state=0).fit(maps)
    assert_close(bags.transform(maps), bags.transform(maps.reshape(200, 36, 12)))
    assert make_pipeline(features, LearnedBoW(5, max_epochs=2, random_state=0)).fit(images, y).predict(
        images
    ).shape == (200,)
    hasher = PCAHasher(4).fit(maps)
    rows = PCAHasher(4).fit_transform(maps.reshape(200, -1))
    assert_same_labels(rows, hasher.transform(maps), hasher.decision_function(maps))


def test_it_is_a_backbone(digits, global_random_seed):
    images = digits[0][:20]
    features = ConvolutionalFeatures(MiniBatchKMeans(12, n_init=1), patch_size=3, random_state=global_random_seed)
    for stages in ([("translation", 2)], [("translation", 2), ("rotation", np.inf)], []):
        pooler = NestedInvariancePooler(features, stages=stages, transforms={"rotation": Rotation(n_steps=4)})
        found = pooler.fit_transform(images)
        assert found.shape == (20, 12 if stages else 432)
    pooler = NestedInvariancePooler(features, stages=[("translation", 2)], normalize=False).fit(images)
    maps = features.fit(images).transform(images.astype(np.float32))
    np.testing.assert_allclose(pooler.transform(images), np.sqrt((maps**2).mean((1, 2))), rtol=1e-4, atol=1e-5)
    in_a_pipeline = NestedInvariancePooler(make_pipeline(features), stages=[("translation", 2)], normalize=False)
    np.testing.assert_allclose(in_a_pipeline.fit_transform(images), pooler.transform(images), rtol=1e-4, atol=1e-5)


def test_features_tell_digits_better_than_pixels(global_random_seed):
    """Quality: a linear classifier fitted to few labels."""
    images, y = load_digits().images / 16, load_digits().target
    features = ConvolutionalFeatures(MiniBatchKMeans(60, n_init=1), patch_size=4, random_state=global_random_seed)
    Z = SpatialPooling().fit_transform(features.fit_transform(images))
    learned, pixels = (
        LogisticRegression(max_iter=500).fit(X[:100], y[:100]).score(X[100:], y[100:])
        for X in (Z / Z.std(), images.reshape(len(images), -1))
    )
    assert learned > 0.85
    assert learned > pixels + 0.04


# Bad input


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"extractor": StandardScaler()}, "extractor=StandardScaler has no filters"),
        ({"extractor": KMeans(5), "encoding": "sigmoid"}, 'encoding="sigmoid" requires an intercept_ for each'),
        ({"extractor": KMeans(5), "patch_size": 21}, "patch_size=21 is larger than the images, 20 x 17"),
        ({"extractor": KMeans(5), "patch_size": (2,)}, r"patch_size=\(2,\) is not valid"),
        ({"extractor": KMeans(500), "n_patches": 100}, "n_samples=100"),
        ({"extractor": KMeans(5), "n_patches": 0}, "n_patches"),
        ({"extractor": KMeans(5), "encoding": "linear"}, "encoding"),
        ({"extractor": PCA(2).fit(np.random.RandomState(0).rand(9, 4))}, r"components_ of shape \(2, 4\)"),
        ({"extractor": NMF(2)}, "Negative values"),
    ],
)
def test_errors(images, params, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ConvolutionalFeatures(**params).fit(images)


def test_bad_images(images):
    features = ConvolutionalFeatures(KMeans(3, n_init=1), patch_size=5).fit(images)
    with pytest.raises(ValueError, match="image 2 contains NaN"):
        features.transform(np.where(np.arange(6)[:, None, None, None] == 2, np.nan, images))
    with pytest.raises(ValueError, match=r"the images are 9 x 17 pixels, but .* was fitted on images of 20 x 17"):
        features.transform(images[:, :9])
    with pytest.raises(AttributeError, match="filters_"):
        ConvolutionalFeatures(KMeans(3)).filters_  # noqa: B018


@pytest.mark.parametrize(
    "last", [AutoPooling(3), SpatialPooling([(2, 2)]), SparseAutoencoder(3, max_epochs=2), LSHHasher(3)]
)
def test_names_of_what_comes_after_maps(images, last):
    """The feature names of maps are those of a cell. Estimators that read maps as rows generate their own names."""
    pipeline = make_pipeline(ConvolutionalFeatures(KMeans(4, n_init=1), patch_size=3, random_state=0), last)
    answer = pipeline.fit_transform(images)
    names = pipeline.get_feature_names_out()
    assert len(names) == answer.shape[1]
    assert names[0] == f"{type(last).__name__.lower()}0"
    with pytest.raises(ValueError, match="input_features should have length"):
        pipeline[-1].get_feature_names_out(["a"] * (pipeline[-1].n_features_in_ - 1))


@pytest.mark.parametrize("size", [(9, 9), (12, 3), (3, 12)])
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, list])
def test_images_of_another_size_are_refused(size, kind):
    """Images of another shape with as many pixels are refused too, because their cells have other positions."""
    random = np.random.RandomState(0)
    features = ConvolutionalFeatures(KMeans(3, n_init=1), patch_size=3, random_state=0).fit(random.rand(5, 6, 6))
    with pytest.raises(ValueError, match=f"the images are {size[0]} x {size[1]} pixels, .* on images of 6 x 6"):
        features.transform(kind(random.rand(2, *size)))
    with pytest.raises(ValueError, match="X has 81 features, but ConvolutionalFeatures is expecting 36"):
        features.transform(random.rand(2, 81))


def _in_parts(model, *parts):
    for part in parts:
        model.partial_fit(part)
    return model


@pytest.mark.parametrize("whiten", [True, False])
def test_statistics_of_parts_are_those_of_all_images(images, whiten):
    """All patches are taken, so that both see the same; the principal components of whitened patches differ."""
    settings = {"patch_size": 4, "n_patches": 10_000, "whiten": whiten, "random_state": 0}
    fitted = ConvolutionalFeatures(IncrementalPCA(3), **settings).fit(images)
    for model in (
        _in_parts(ConvolutionalFeatures(IncrementalPCA(3), **settings), images[:2], images[2:3], images[3:]),
        ConvolutionalFeatures(IncrementalPCA(3), **settings).fit(images[:3]).partial_fit(images[3:]),
    ):
        assert_close(model.mean_, fitted.mean_, rtol=1e-6, atol=1e-8)
        assert_close(model.whitening_, fitted.whitening_, rtol=1e-6, atol=1e-6 * np.abs(fitted.whitening_).max())
        assert model.extractor_.n_samples_seen_ == 6 * 17 * 14
        assert model.transform(images).shape == fitted.transform(images).shape


@pytest.mark.parametrize("extractor", [MiniBatchKMeans(5, n_init=1), BagOfWords(5), SparseAutoencoder(5), _DICTIONARY])
def test_extractors_continue(extractor, images, tmp_path):
    features = ConvolutionalFeatures(extractor, patch_size=4, n_patches=200, random_state=0).partial_fit(images[2:4])
    before, filters = features.extractor_, features.filters_
    again = _in_parts(pickle.loads(pickle.dumps(features)), images[4:])
    assert (
        features.partial_fit(images[4:].astype(np.float64)) is features
    )  # continues in the precision of the extractor
    assert_close(again.filters_, features.filters_, rtol=1e-3, atol=1e-3 * np.abs(filters).max())
    assert features.extractor_ is not before
    assert np.abs(features.filters_ - filters).max() > 0.01 * np.abs(filters).max()
    assert not hasattr(features.extractor, "n_features_in_")


def test_only_extractors_that_learn_in_parts_have_partial_fit(images):
    assert not hasattr(ConvolutionalFeatures(KMeans(5)), "partial_fit")
    with pytest.raises(AttributeError, match="has no attribute 'partial_fit'"):
        ConvolutionalFeatures(KMeans(5)).partial_fit(images)
    fitted = MiniBatchKMeans(5, n_init=1, random_state=0).fit(np.random.RandomState(0).rand(99, 48))
    features = _in_parts(ConvolutionalFeatures(fitted, patch_size=4, random_state=0), images[:3], images[3:])
    assert features.extractor_.cluster_centers_ is not None
    np.testing.assert_array_equal(features.extractor_.cluster_centers_, fitted.cluster_centers_)


def test_errors_of_partial_fit_leave_the_model_as_it_was(images):
    features = ConvolutionalFeatures(MiniBatchKMeans(5, n_init=1), patch_size=4, n_patches=200, random_state=0)
    with pytest.raises(ValueError, match="n_samples=3 should be >= n_clusters=5"):
        features.set_params(n_patches=3).partial_fit(images)
    features.set_params(n_patches=200).partial_fit(images)
    state, extractor = features._state, features.extractor_
    for changes, X, message in (
        ({}, images[:, :9], "fitted on images of 20 x 17"),
        ({}, images[:0], "0 sample"),
        ({"patch_size": 5}, images, r"patch_size=5 differs from \[4, 4\]"),
        ({"whiten": False}, images, "whiten=False cannot continue"),
    ):
        model = features.set_params(**({"patch_size": 4, "whiten": True} | changes))
        with pytest.raises(ValueError, match=message):
            model.partial_fit(X)
        assert model._state is state
        assert model.extractor_ is extractor
    earlier = pickle.loads(pickle.dumps(features.set_params(patch_size=4, whiten=True)))
    del earlier._state["moments"]
    with pytest.raises(ValueError, match="saved by an earlier version"):
        earlier.partial_fit(images)
