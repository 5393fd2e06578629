"""The learned aggregations: tasks, initialisation, weights, warm start, bad input, and quality."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from tolerance import assert_close

from sklinvariant import DescriptorSets
from sklinvariant.aggregation import (
    VLAD,
    BagOfWords,
    FisherVector,
    LearnedAggregation,
    LearnedBoW,
    LearnedFisherVector,
    LearnedVLAD,
)

LEARNED = [
    LearnedBoW(3, max_epochs=3, random_state=0),
    LearnedBoW(3, max_epochs=3, covariance="identity", learn_gamma=False, random_state=0),
    LearnedVLAD(3, max_epochs=3, random_state=0),
    LearnedFisherVector(3, max_epochs=3, random_state=0),
    LearnedAggregation(torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh()), max_epochs=3, random_state=0),
]


@pytest.mark.parametrize(
    ("learned", "start"),
    [
        (LearnedBoW(3, random_state=0), BagOfWords(3, assignment="soft", random_state=0)),
        (LearnedVLAD(3, random_state=0), VLAD(3, assignment="soft", random_state=0)),
        (LearnedFisherVector(3, random_state=0), FisherVector(3, random_state=0)),
    ],
)
def test_starts_where_the_unlearned_ends(two_classes, learned, start):
    X, y = two_classes
    start.fit(X)
    learned.set_params(init=start, max_epochs=0).fit(X, y)
    np.testing.assert_allclose(learned.transform(X), start.transform(X), atol=1e-6)
    for name in ("codebook_", "means_", "gamma_"):
        if hasattr(start, name):
            assert_close(getattr(learned, name), getattr(start, name))


@pytest.mark.parametrize("model", LEARNED)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_loss_decreases_and_parameters_move(two_classes, model, dtype):
    X, y = two_classes
    model = clone(model).set_params(max_epochs=15, batch_size=8, descriptors_per_sample=None).fit(X.astype(dtype), y)
    losses = [row["loss"] for row in model.history_]
    assert len(losses) == model.n_iter_ == 15
    assert losses[-1] < losses[0]
    assert model.score(X.astype(dtype), y) > 0.85
    assert model.transform(X.astype(dtype)).dtype == dtype


@pytest.mark.parametrize("model", LEARNED)
def test_seed_clone_and_pickle(two_classes, model):
    X, y = two_classes
    state = torch.get_rng_state()
    first, second = clone(model).fit(X, y), clone(model).fit(X, y)
    assert (torch.get_rng_state() == state).all()
    assert_close(first.transform(X), second.transform(X), rtol=1e-6)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(first)).predict_proba(X), first.predict_proba(X))


def test_a_custom_loss(two_classes):
    X, y = two_classes

    def contrast(representation, target):
        far = torch.cdist(representation, representation)
        same = (target[:, None] == target).to(far)
        return (same * far.square() + (1 - same) * (1 - far).clamp(min=0).square()).mean()

    model = LearnedVLAD(3, loss=contrast, max_epochs=10, tol=None, random_state=0).fit(X, y)
    assert model.history_[-1]["loss"] < model.history_[0]["loss"]
    assert not hasattr(model, "predict")
    assert model.transform(X).shape == (40, 9)


class _Remember:
    """A loss that keeps its targets."""

    def __init__(self):
        self.seen = []

    def __call__(self, representation, target):
        self.seen.append(target)
        return representation.square().sum(1)


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (np.arange(40) % 3 + 7, torch.arange(40) % 3 + 7),
        (np.arange(40.0), torch.arange(40.0)),
        (np.arange(120).reshape(40, 3) % 2, torch.arange(120).view(40, 3) % 2),
        (np.linspace(0, 1, 80, dtype=np.float32).reshape(40, 2), torch.linspace(0, 1, 80).view(40, 2)),
        (np.array(["a", "b"])[np.arange(40) % 2], torch.arange(40) % 2),
    ],
)
def test_a_custom_loss_gets_numbers_unchanged_and_strings_as_class_numbers(two_classes, y, expected):
    loss = _Remember()
    X = two_classes[0].astype(np.float32)
    model = LearnedVLAD(3, loss=loss, max_epochs=1, random_state=0).fit(X, y)
    assert loss.seen[0].dtype == expected.dtype
    torch.testing.assert_close(loss.seen[0].sort(dim=0).values, expected.sort(dim=0).values)
    assert hasattr(model, "classes_") == (y.dtype.kind == "U")


def test_words_keep_their_class_numbers_in_later_batches(two_classes):
    loss, X = _Remember(), two_classes[0]
    model = LearnedVLAD(3, loss=loss).partial_fit(X, np.array(["a", "b"])[np.arange(40) % 2])
    model.partial_fit(X, ["b"] * 40)
    assert (loss.seen[-1] == 1).all()
    with pytest.raises(ValueError, match="class c, which"):
        model.partial_fit(X, ["c"] * 40)


def test_weights_reach_a_custom_loss(two_classes):
    X, y = two_classes

    def pull(representation, target):  # either class to its own corner
        corners = torch.eye(9, dtype=representation.dtype)[:2]
        return (representation - corners[target]).square().sum(1)

    model = LearnedVLAD(3, loss=pull, max_epochs=5, descriptors_per_sample=None, batch_size=200, random_state=0)
    times = np.arange(40) % 3
    weighted = clone(model).fit(X, y, sample_weight=times)
    repeated = clone(model).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    assert_close(weighted.codebook_, repeated.codebook_, rtol=1e-5)
    with pytest.raises(ValueError, match="sample weights need one for each bag"):
        clone(model).set_params(loss=lambda r, y: pull(r, y).mean()).fit(X, y, sample_weight=times)


def test_losses_that_cannot_be_called_or_differentiated(two_classes):
    X, y = two_classes

    class Contrastive(torch.nn.Module):
        def forward(self, representation, y):
            return representation.detach().sum()

    with pytest.raises(TypeError, match=r"loss=Contrastive is a class\. Pass an instance.* loss=Contrastive\(\)"):
        LearnedVLAD(3, loss=Contrastive).fit(X, y)
    with pytest.raises(TypeError, match=r"without y, so that loss is called as loss\(representation\).*'y'.*Pass y"):
        LearnedVLAD(3, loss=Contrastive()).fit(X)
    with pytest.raises(TypeError, match=r"with y, so that loss is called as loss\(representation, y\).*Pass y=None"):
        LearnedVLAD(3, loss=lambda representation: representation.sum()).fit(X, y)
    with pytest.raises(ValueError, match="loss is not differentiable in the representations"):
        LearnedVLAD(3, loss=Contrastive()).fit(X, y)


@pytest.mark.parametrize(("loss", "got"), [(lambda r, y: None, "NoneType"), (lambda r, y: r, r"\(40, 9\)")])
def test_a_custom_loss_of_the_wrong_kind(two_classes, loss, got):
    with pytest.raises(ValueError, match=f"loss returned .*{got}"):
        LearnedVLAD(3, loss=loss).fit(*two_classes)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("scale", [2.0**-330, 2.0**-10, 2.0**13, 2.0**330])  # powers of 2, which round nothing
def test_the_unit_of_the_targets_does_not_matter(two_classes, optimizer, scale):
    X, labels = two_classes
    y = 3 + labels + np.random.RandomState(0).normal(size=(40, 2)).T[0] / 10
    model = LearnedBoW(4, loss="squared_error", optimizer=optimizer, max_epochs=3, random_state=0)
    plain, scaled = (clone(model).fit(X, y * unit).partial_fit(X, y * unit) for unit in (1.0, scale))
    assert_close(scaled.predict(X) / scale, plain.predict(X), rtol=1e-6)
    assert_close([row["loss"] for row in scaled.history_], [row["loss"] for row in plain.history_], rtol=1e-6)


@pytest.mark.parametrize(("loss", "kind"), [("log_loss", "multilabel"), ("squared_error", "regression")])
@pytest.mark.parametrize("outputs", [1, 2, 6])
def test_a_later_batch_of_another_number_of_outputs(two_classes, loss, kind, outputs):
    X, y = two_classes
    y = np.tile(y[:, None], 6)
    model = LearnedBoW(3, loss=loss).partial_fit(X, y[:, :3])
    with pytest.raises(ValueError, match=f"fitted to {kind} of 3"):
        model.partial_fit(X, y[:, :outputs] if outputs > 1 else y[:, 0])


def test_weights_equal_repetitions(two_classes):
    X, y = two_classes
    times = np.arange(40) % 3
    model = LearnedBoW(3, max_epochs=3, weight_decay=0.01, batch_size=200, descriptors_per_sample=None, random_state=0)
    weighted = clone(model).fit(X, y, sample_weight=times)
    repeated = clone(model).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-5)


def test_descriptors_per_sample(two_classes):
    X, y = two_classes
    for some in (4, 0.3):
        model = LearnedBoW(3, max_epochs=60, descriptors_per_sample=some, random_state=0).fit(X, y)
        assert model.score(X, y) > 0.9


def test_partial_fit_and_warm_start(two_classes):
    X, y = two_classes
    streamed = LearnedBoW(4, random_state=0)
    for _ in range(15):
        for part in (slice(0, 20), slice(20, 40)):
            streamed.partial_fit(X[part], y[part], classes=[0, 1])
    assert streamed.score(X, y) > 0.9
    assert streamed.n_iter_ == 30
    with pytest.raises(ValueError, match="class 7"):
        streamed.partial_fit(X[:2], [0, 7])
    warm = LearnedBoW(4, max_epochs=5, warm_start=True, descriptors_per_sample=None, random_state=0).fit(X, y)
    before = warm.history_[-1]["loss"]
    warm.fit(X, y)
    assert warm.n_iter_ == 10
    assert warm.history_[-1]["loss"] < before


class Own(torch.nn.Module):
    def __init__(self, n_weights):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(n_weights))

    def forward(self, representation, y):
        return representation.square().mean() + self.weight.sum()


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize(
    ("before", "now", "message"),
    [
        (
            "log_loss",
            "squared_error",
            "was fitted with a loss for classes and cannot continue with loss='squared_error'",
        ),
        ("log_loss", Own(2), "was fitted with a loss for classes and cannot continue with loss=Own"),
        ("squared_error", "hinge", "was fitted with loss='squared_error' and cannot continue with loss='hinge'"),
        (Own(2), "log_loss", "was fitted with a user-defined loss and cannot continue with loss='log_loss'"),
        (Own(2), Own(3), "Set loss back, or fit a clone"),
    ],
)
def test_another_loss_is_named(two_classes, before, now, message, partial):
    X, y = two_classes
    model = LearnedBoW(2, max_epochs=1, loss=before, warm_start=True, random_state=0).fit(X, y).set_params(loss=now)
    with pytest.raises(ValueError, match=message):
        (model.partial_fit if partial else model.fit)(X, y)


def test_a_loss_for_the_same_targets_continues(two_classes):
    X, y = two_classes
    model = LearnedBoW(2, max_epochs=1, warm_start=True, random_state=0).fit(X, y).set_params(loss="hinge")
    assert model.fit(X, y).n_iter_ == 2


def test_in_a_grid_search(two_classes):
    X, y = two_classes
    bags = DescriptorSets.from_bags(X)
    pipeline = make_pipeline(BagOfWords(3), LinearSVC())
    search = GridSearchCV(pipeline, {"bagofwords": [BagOfWords(3), LearnedBoW(3, max_epochs=5)]}, cv=2).fit(bags, y)
    assert len(search.cv_results_["params"]) == 2
    assert (cross_val_score(LearnedVLAD(3, max_epochs=5, random_state=0), bags, y, cv=2, n_jobs=2) > 0.5).all()


@pytest.mark.parametrize("model", LEARNED[:4])
@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_scale_of_the_data_does_not_matter(two_classes, model, scale):
    X, y = two_classes
    expected = clone(model).fit(X, y).predict_proba(X)
    got = clone(model).fit(X * scale, y).predict_proba(X * scale)
    np.testing.assert_allclose(got, expected, atol=1e-4)
    single = clone(model).fit((X * scale).astype(np.float32), y).predict_proba((X * scale).astype(np.float32))
    assert np.isfinite(single).all()


@pytest.mark.parametrize("scale", [1e-36, 1e-20, 1e20, 1e36])
def test_float32_at_scales_whose_squares_it_cannot_hold(two_classes, scale):
    X, y = two_classes
    scaled = (X * scale).astype(np.float32)
    unlearned = FisherVector(3, random_state=0).fit(scaled)
    expected = FisherVector(3, random_state=0).fit_transform(X)
    np.testing.assert_allclose(unlearned.transform(scaled), expected, atol=1e-2)
    learned = LearnedFisherVector(3, init=unlearned, max_epochs=0).fit(scaled, y)
    np.testing.assert_allclose(learned.transform(scaled), expected, atol=1e-2)
    assert learned.set_params(max_epochs=3).fit(scaled, y).score(scaled, y) > 0.8


@pytest.mark.parametrize("model", LEARNED[:4])
@pytest.mark.parametrize("n_distinct", [1, 2])
@pytest.mark.filterwarnings("ignore:the descriptors have fewer distinct values")
def test_fewer_distinct_descriptors_than_codewords(two_classes, model, n_distinct):
    X = np.random.RandomState(0).randint(n_distinct, size=(40, 15, 1)) * np.ones(3)
    model = clone(model).fit(X, two_classes[1])
    assert np.isfinite(model.transform(X)).all()
    assert np.isfinite(model.predict_proba(X)).all()


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (torch.nn.Linear(5, 2), r"encoder does not accept descriptors of shape \(rows, 3\)"),
        (torch.nn.Flatten(0), r"must map \(rows, 3\) to \(rows, D\), but for 2 rows it returned \(6,\)"),
        (lambda d: len, "must return a torch.nn.Module, got builtin_function"),
    ],
)
def test_an_encoder_that_does_not_fit(two_classes, encoder, message):
    with pytest.raises(ValueError, match=message):
        LearnedAggregation(encoder).fit(*two_classes)


def test_a_first_batch_of_one_class_needs_classes(two_classes):
    X, y = two_classes
    with pytest.raises(ValueError, match="at least 2 classes"):
        LearnedBoW(3).partial_fit(X[::2], y[::2])
    model = LearnedBoW(3).partial_fit(X[::2], y[::2], classes=[0, 1])
    assert model.predict_proba(X).shape == (40, 2)


@pytest.mark.parametrize("model", LEARNED)
def test_empty_bags_encode_to_zero_or_a_constant(two_classes, model):
    X, _y = two_classes
    bags = [*X[:6], np.zeros((0, 3)), *X[6:8]]
    model = clone(model).fit(bags, [0, 1, 0, 1, 0, 1, 0, 1, 0])
    assert (model.transform(bags)[6] == 0).all()
    assert np.isfinite(model.predict_proba(bags)).all()


@pytest.mark.parametrize("model", LEARNED)
def test_a_failed_fit_leaves_the_estimator_as_it_was(two_classes, model):
    X, y = two_classes
    model = clone(model).fit(X, y)
    before = model.transform(X)
    for bad in (dict(X=X[:, :, :2][:5], y=y), dict(X=X, y=np.zeros(40)), dict(X=X * np.nan, y=y)):
        with pytest.raises(ValueError, match=r"."):
            model.fit(**bad)
    np.testing.assert_array_equal(model.transform(X), before)


@pytest.mark.parametrize(
    ("params", "fit", "message"),
    [
        ({}, {"y": None}, "requires y"),
        ({}, {"y": np.zeros(40)}, "at least 2 classes"),
        ({}, {"sample_weight": np.zeros(40)}, "non-zero|zero for all"),
        ({}, {"sample_weight": -np.ones(40)}, "[Nn]egative"),
        ({"class_weight": {0: 1.0}, "loss": "squared_error"}, {}, "class_weight"),
        ({"init": np.eye(2)}, {}, r"codebook or init has shape \(2, 2\), but numbers of shape"),
        ({"n_codewords": 10_000}, {}, "at least 10000 are required, one for each codeword"),
        ({"device": "nowhere"}, {}, "device='nowhere'"),
        ({"learning_rate": -1}, {}, "'learning_rate' parameter"),
        ({"gamma": "auto"}, {}, "'gamma' parameter"),
    ],
)
def test_bad_parameters(two_classes, params, fit, message):
    X, y = two_classes
    with pytest.raises(ValueError, match=message):
        LearnedBoW(**params).fit(**{"X": X, "y": y, **fit})


def test_batches_cannot_be_balanced(two_classes):
    X, y = two_classes
    with pytest.raises(ValueError, match="compute_class_weight"):
        LearnedBoW(3, class_weight="balanced").partial_fit(X, y)
    assert LearnedBoW(3, class_weight={0: 1.0, 1: 2.0}, random_state=0).partial_fit(X, y).predict(X).shape == y.shape


@pytest.mark.parametrize("model", LEARNED[:3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("gamma", [1e-300, 1e300])
def test_a_gamma_beyond_all_bounds(two_classes, model, dtype, gamma):
    X, y = two_classes
    X = X.astype(dtype)
    model = clone(model).set_params(gamma=gamma, max_epochs=0).fit(X, y)
    np.testing.assert_allclose(model.gamma_, gamma, rtol=1e-4)
    shares = LearnedBoW(init=model, gamma=gamma, max_epochs=0).fit(X, y).transform(X)
    expected = BagOfWords(codebook=model).fit(X).transform(X) if gamma > 1 else np.full_like(shares, 1 / 3)
    np.testing.assert_allclose(shares, expected, atol=1e-4)


def test_later_parts_with_other_classes_are_refused(two_classes):
    X, y = two_classes
    model = LearnedBoW(4, random_state=0).partial_fit(X, y, classes=[0, 1]).partial_fit(X, y, classes=[1, 0])
    for classes in ([0, 1, 2], ["a", "b"]):
        with pytest.raises(ValueError, match="not the same as in the first call of partial_fit"):
            model.partial_fit(X, y, classes=classes)
