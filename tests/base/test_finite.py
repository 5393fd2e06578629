"""Results are finite, or an error names the cause."""

import numpy as np
import pytest
import torch
from examples import example

from sklinvariant import SparseAutoencoder
from sklinvariant.cluster import IICClusterer
from sklinvariant.hashing import ITQHasher, NeighborHasher, PCAHasher, RBMHasher


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("LearnedBoW", {"learning_rate": 1e6, "weight_decay": 1e-3}),
        ("NeighborHasher", {"learning_rate": 1e300}),
        ("RBMHasher", {"learning_rate": 1e300}),
        ("RBMHasher", {"weight_decay": 1e300}),
        ("SparseAutoencoder", {"learning_rate": 1e300}),
        ("BackbonePatches", {"mean": 1e300}),
        ("BackbonePatches", {"std": 1e-300}),
        ("NestedInvariancePooler", {"fill": 1e300}),
        ("NestedInvariancePooler", {"fill": 1e300, "on_error": "nan"}),
    ],
)
def test_results_are_finite_or_refused(name, changes):
    """Each of these used to learn or return NaN silently."""
    estimator, X, y = example(name)
    with pytest.raises(FloatingPointError, match=next(iter(changes))):
        estimator.set_params(**changes).fit(X, y).transform(X)


def test_a_fit_that_diverges_keeps_the_model():
    estimator, X, _ = example("RBMHasher")
    expected = estimator.fit(X).transform(X)
    estimator.set_params(learning_rate=1e300)
    with pytest.raises(FloatingPointError, match=r"RBMHasher\.fit cannot compute .*learning_rate=1e\+300"):
        estimator.fit(X)
    np.testing.assert_array_equal(estimator.transform(X), expected)


def test_promised_nan_stays(tmp_path):
    cv2 = pytest.importorskip("cv2")
    estimator, X, _ = example("NestedInvariancePooler")
    estimator.set_params(backbone=torch.nn.Conv2d(3, 2, 3))
    cv2.imwrite(str(tmp_path / "good.png"), (255 * X[0]).astype(np.uint8))
    (tmp_path / "bad.png").write_bytes(b"text")
    paths = [str(tmp_path / "good.png"), str(tmp_path / "bad.png")]
    estimator.set_params(image_size=12, on_error="nan").fit(paths[:1])
    with pytest.warns(UserWarning, match=r"bad\.png"):
        answer = estimator.transform(paths)
    assert np.isfinite(answer[0]).all()
    assert np.isnan(answer[1]).all()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("AutoPooling", {"n_components": 2**31 - 1}),
        ("AutoPooling", {"n_components": 10**6}),
        ("SparseAutoencoder", {"n_components": 2**31 - 1}),
        ("NeighborHasher", {"n_bits": 2**31 - 1}),
        ("RBMHasher", {"n_bits": 2**31 - 1}),
        ("LSHHasher", {"n_bits": 2**31 - 1}),
        ("SKLSHHasher", {"n_bits": 2**31 - 1}),
        ("SpectralHasher", {"n_bits": 2**31 - 1}),
        ("BagOfWords", {"n_codewords": 2**31 - 1}),
        ("LearnedBoW", {"n_codewords": 2**31 - 1}),
        ("LearnedBoW", {"n_codewords": 2**31 - 1, "init": "random"}),
        ("LearnedFisherVector", {"n_components": 2**31 - 1}),
        ("EquivariantAutoencoder", {"depth": 2**31 - 1}),
        ("EquivariantAutoencoder", {"width": 2**31 - 1}),
        ("EquivariantAutoencoder", {"latent_channels": 2**31 - 1}),
        ("IICClusterer", {"n_clusters": 10**6}),
        ("IICClusterer", {"n_overclusters": 10**6}),
        ("IICClusterer", {"n_heads": 10**6}),
        ("IICSegmenter", {"n_clusters": 10**6}),
        ("IICSegmenter", {"half_window": 10**6}),
        ("IICSegmenter", {"width": 10**6}),
        ("BackbonePatches", {"image_size": 10**6}),
        ("NestedInvariancePooler", {"image_size": 10**6}),
    ],
)
def test_absurd_sizes_are_refused_before_memory_is_taken(name, changes):
    estimator, X, y = example(name)
    with pytest.raises(ValueError, match=next(iter(changes))):
        estimator.set_params(**changes).fit(X, y)


def test_memory_that_is_not_there_is_an_error_in_words():
    class Greedy(PCAHasher):
        def fit(self, X, y=None):
            torch.empty(2**60)

    with pytest.raises(MemoryError, match=r"Greedy\.fit ran out of memory .* Lower n_bits=65"):
        Greedy(n_bits=65).fit([[1.0]])


_BLOCKS = "ass blocks to partial_fit"


@pytest.mark.parametrize(
    ("estimator", "advice"),
    [
        (NeighborHasher(64, random_state=0), f"P{_BLOCKS}"),
        (ITQHasher(random_state=3), f"P{_BLOCKS}, or an iterable of blocks to fit"),
        (RBMHasher(max_epochs=1, n_iter_no_change=2, random_state=0), f"P{_BLOCKS}"),
        (SparseAutoencoder(32, max_epochs=1, random_state=0), f"Lower n_components=32, or p{_BLOCKS}"),
        (NeighborHasher(batch_size=99, n_neighbors=7, verbose=1), f"Lower batch_size=99, n_neighbors=7, or p{_BLOCKS}"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_advice_after_a_lack_of_memory_names_what_takes_memory(estimator, advice, monkeypatch):
    def fails(*args, **kwargs):
        raise MemoryError("Unable to allocate 195. MiB")

    monkeypatch.setattr(estimator._reader, "_check", fails)
    with pytest.raises(MemoryError) as caught:
        estimator.fit(np.zeros((4, 4)))
    assert str(caught.value).endswith(f"ran out of memory (Unable to allocate 195. MiB). {advice}.")


def test_without_enough_memory_for_a_block_the_advice_is_not_to_pass_blocks(monkeypatch):
    def fails(*args, **kwargs):
        raise MemoryError("Unable to allocate 195. MiB")

    model = IICClusterer(random_state=0)
    monkeypatch.setattr(model._reader, "_check", fails)
    with pytest.raises(MemoryError, match=r"MiB\). Use fewer samples or smaller parameters\.$"):
        model.partial_fit(np.zeros((4, 4)))


def test_fit_predict_without_memory_gives_the_advice_of_fit(monkeypatch):
    def fails(*args, **kwargs):
        raise MemoryError("Unable to allocate 195. MiB")

    model = IICClusterer(3)
    monkeypatch.setattr(model._reader, "_check", fails)
    with pytest.raises(MemoryError) as caught:
        model.fit_predict(np.zeros((4, 4)))
    assert str(caught.value).count("Lower") == str(caught.value).count("Unable") == 1
