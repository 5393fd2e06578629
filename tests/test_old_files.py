"""Models saved by the first release can be loaded and give the same results."""

from pathlib import Path

import numpy as np
import pytest
from tolerance import assert_close

import sklinvariant

FOLDER = Path(__file__).parent / "data" / "first_release"
MODELS = sorted(path.stem for path in FOLDER.glob("*.safetensors"))


@pytest.fixture(scope="module")
def data():
    """The training data of the models, drawn in the same order as in the first release."""
    rng = np.random.RandomState(0)
    bags, rows, images = (rng.rand(12, *shape).astype(np.float32) for shape in ((6, 4), (6,), (8, 8)))
    codes = (rng.rand(12, 16) > 0.5).astype(np.uint8)
    kinds = {"BagOfWords": bags, "FisherVector": bags, "LearnedVLAD": bags, "LearnedFisherVector": bags}
    kinds |= {"SpatialPooling": rows.reshape(12, 2, 3, 1), "HammingNeighbors": codes}
    kinds |= {"IICSegmenter": images, "EquivariantAutoencoder": images, "DensePatches": images}
    return {name: kinds.get(name, rows) for name in MODELS}


def _answer(model, X):
    if hasattr(model, "kneighbors"):
        return model.kneighbors(X, 3)[0]
    method = next(name for name in ("decision_function", "predict_proba", "transform") if hasattr(model, name))
    answer = (model.transform if "Learned" in type(model).__name__ else getattr(model, method))(X)
    return answer.values if hasattr(answer, "offsets") else answer


def test_there_are_files():
    assert len(MODELS) >= 14


def test_auto_pooling_keeps_its_objective():
    """The default of later versions, ``standardize=True``, is not that of the file."""
    model = sklinvariant.load(FOLDER / "AutoPooling.safetensors")
    assert model.standardize is False
    assert model.scale_ is None


@pytest.mark.parametrize("name", MODELS)
def test_answers(name, data):
    with np.load(FOLDER / "answers.npz") as answers:
        assert_close(_answer(sklinvariant.load(FOLDER / f"{name}.safetensors"), data[name]), answers[name], rtol=1e-3)
