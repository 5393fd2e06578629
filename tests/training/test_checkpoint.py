"""Files of interrupted fits: to which fit they belong, which are refused, and which files are left unchanged."""

import pytest
import torch

from sklinvariant import LearnedAggregation, SparseAutoencoder
from sklinvariant.training._checkpoint import Checkpoint

CONTENT = {
    "module": {"weight": torch.ones(2)},
    "optimizer": {},
    "generator": torch.Generator().get_state(),
    "history": [{"train_loss": 0.5, "dur": 0.1}],
    "best": 0.5,
    "waited": 0,
}


def _checkpoint(path, *, before=0, samples=(1.0, 2.0), **params):
    return Checkpoint(path, SparseAutoencoder(2, **params), {"samples": [torch.tensor(samples)]}, before=before)


def test_the_same_fit_goes_on(tmp_path):
    path = tmp_path / "new" / "fit"
    first = _checkpoint(path)
    assert first.read() is None
    first.write(CONTENT)
    again = _checkpoint(path, verbose=1)  # the model does not depend on it
    content = again.read()
    assert torch.equal(content["module"]["weight"], torch.ones(2))
    assert content["history"] == CONTENT["history"]
    again.write(content)
    again.remove()
    assert not path.exists()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"learning_rate": 0.5}, "different learning_rate"),
        ({"samples": (1.0, 3.0)}, "different samples"),
        ({"before": 3}, "from epoch 0 to epoch 1, but this model has been trained for 3 epochs"),
    ],
)
def test_other_fits_are_refused(tmp_path, other, message):
    _checkpoint(tmp_path / "fit").write(CONTENT)
    with pytest.raises(ValueError, match=message):
        _checkpoint(tmp_path / "fit", **other).read()


def test_a_module_with_other_weights_is_another_fit(tmp_path):
    def checkpoint(weight):
        module = torch.nn.Linear(1, 1, dtype=torch.float32, device="cpu")
        torch.nn.init.constant_(module.weight, weight)
        torch.nn.init.zeros_(module.bias)
        return Checkpoint(tmp_path / "fit", LearnedAggregation(module), {"samples": [torch.ones(2)]}, before=0)

    checkpoint(1.0).write(CONTENT)
    assert checkpoint(1.0).read() is not None
    with pytest.raises(ValueError, match="different encoder"):
        checkpoint(2.0).read()


def test_a_file_that_another_fit_writes_is_left_to_it(tmp_path):
    mine, other = _checkpoint(tmp_path / "fit"), _checkpoint(tmp_path / "fit")
    mine.write(CONTENT)
    (tmp_path / "fit").unlink()
    other.write(CONTENT)
    written = (tmp_path / "fit").read_bytes()
    with pytest.warns(RuntimeWarning, match="is now used by another fit"):
        mine.write(CONTENT)
    mine.write(CONTENT)  # warns only once
    mine.remove()
    assert (tmp_path / "fit").read_bytes() == written


def test_files_that_are_no_checkpoints_stay(tmp_path):
    path = tmp_path / "letter.txt"
    path.write_text("dear")
    checkpoint = _checkpoint(path)
    with pytest.raises(ValueError, match="is not a checkpoint and was not changed"):
        checkpoint.read()
    checkpoint.remove()
    assert path.read_text() == "dear"


def test_damage_is_noticed(tmp_path):
    _checkpoint(tmp_path / "fit").write(CONTENT)
    data = bytearray((tmp_path / "fit").read_bytes())
    data[-1] ^= 1
    (tmp_path / "fit").write_bytes(data)
    with pytest.raises(ValueError, match="is damaged"):
        _checkpoint(tmp_path / "fit").read()


def test_content_that_does_not_match_the_model(tmp_path):
    checkpoint = _checkpoint(tmp_path / "fit")
    with pytest.raises(ValueError, match="does not match this model"), checkpoint.restoring():
        torch.nn.Linear(2, 2).load_state_dict({"weight": torch.ones(3)})


def test_a_folder_that_cannot_be_written_warns(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(RuntimeWarning, match="could not be written after epoch 1"):
        _checkpoint(tmp_path / "file" / "fit").write(CONTENT)
