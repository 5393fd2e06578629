"""Concurrent runs on one index, killed runs and reappearing photographs never give a mixed index or a deadlock."""

import os
import socket
import threading

import numpy as np
import pytest

from sklinvariant.cli import _photo_index as _photo_index
from sklinvariant.cli import _photos as _photos
from sklinvariant.cli._command_line import main
from sklinvariant.cli._lock import locked

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
pytest.importorskip("faiss", reason="faiss is not installed")
_QUICK = {"n_bits": 4, "image_size": 32, "n_rotations": 2, "n_scales": 1}
_WORDS = ["--bits", "4", "--image-size", "32", "--rotations", "2", "--scales", "1"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(_photos, "_N_WORDS", 8)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(6):
        coarse = np.random.RandomState(i).randint(256, size=(5, 5, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), cv2.resize(coarse, (40, 40), interpolation=cv2.INTER_LINEAR))
    return folder


def _index(photos, out, **settings):
    return _photo_index.make_index(photos, out, show=False, **_QUICK | settings)


def test_of_two_runs_at_once_one_is_refused_and_the_index_is_of_the_other(photos, tmp_path, monkeypatch):
    out, both, refused = tmp_path / "index", threading.Barrier(2), []
    reading, read = threading.Event(), _photo_index._read

    def slowly(pooler, files, n_keypoints):  # until the other run was refused
        reading.wait(60)
        return read(pooler, files, n_keypoints)

    def run(n_rotations):
        both.wait()
        try:
            _index(photos, out, n_rotations=n_rotations)
        except BlockingIOError as error:
            refused.append(str(error))
            reading.set()

    monkeypatch.setattr(_photo_index, "_read", slowly)
    runs = [threading.Thread(target=run, args=(n_rotations,)) for n_rotations in (2, 4)]
    for thread in runs:
        thread.start()
    for thread in runs:
        thread.join()
    (message,) = refused
    assert f"process {os.getpid()} on {socket.gethostname()} has been writing to {out}" in message
    assert f"delete {out / 'index.lock'}" in message
    answer = _photo_index.query_index(out, [photos / "3.png"], n_neighbors=6)
    assert (0, str(photos / "3.png")) in answer.found[str(photos / "3.png")]


def test_a_run_that_is_refused_changes_nothing(photos, tmp_path, capsys):
    out = tmp_path / "index"
    _index(photos, out)
    with locked(out / "index.lock", out):
        before = {path.name: path.read_bytes() for path in out.iterdir()}
        assert main(["index", str(photos), "--output", str(out), *_WORDS, "--rotations", "4"]) == 2
        assert "has been writing to" in capsys.readouterr().err
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert main(["index", str(photos), "--output", str(out), *_WORDS]) == 0


@pytest.mark.parametrize("setting", [{"n_rotations": 3}, {"seed": 5}])
def test_features_of_other_settings_are_never_taken(setting, photos, tmp_path):
    """Two concurrent runs or a copied folder could leave such files."""
    _index(photos, tmp_path / "one")
    _index(photos, tmp_path / "other", **setting)
    chunk = "features-000000.npz"
    with np.load(tmp_path / "one" / chunk) as file:
        own = file["features"]
    (tmp_path / "one" / chunk).write_bytes((tmp_path / "other" / chunk).read_bytes())
    _index(photos, tmp_path / "one")
    with np.load(tmp_path / "one" / chunk) as file:
        np.testing.assert_allclose(file["features"], own, rtol=1e-4, atol=1e-6)


def test_an_index_is_not_finished_where_another_program_has_changed_it(photos, tmp_path, monkeypatch):
    """Where locks do not work, as on some network drives, a mixed index is reported and not used."""
    out, make = tmp_path / "index", _photo_index._make_hasher

    def meanwhile(*args):
        settings = _photo_index.read_settings(out)
        _photo_index._write_json(out / "settings.json", settings | {"n_rotations": 5})
        return make(*args)

    monkeypatch.setattr(_photo_index, "_make_hasher", meanwhile)
    with pytest.raises(ValueError, match="another program changed"):
        _index(photos, out)
    assert not (out / "names.json").exists()


def test_a_photograph_that_could_not_be_read_is_tried_again(photos, tmp_path, monkeypatch):
    """A file that could not be read is tried again, because a network drive may be available again."""
    from sklinvariant.images import _image_stream

    read, seen = _image_stream.read_image, []

    def denied(path):
        if path.endswith("4.png"):
            raise ValueError(f"{path} cannot be read (permission denied)")
        return read(path)

    def counted(path):
        seen.append(path)
        return read(path)

    monkeypatch.setattr(_image_stream, "read_image", denied)
    count, skipped = _index(photos, tmp_path / "index")
    assert (count, [name for name, _ in skipped]) == (5, ["4.png"])
    monkeypatch.setattr(_image_stream, "read_image", counted)
    assert _index(photos, tmp_path / "index") == (6, [])
    assert seen == [str(photos / "4.png")]  # and it alone
    _index(photos, tmp_path / "index")
    assert len(seen) == 1


def test_damaged_features_are_made_again(photos, tmp_path):
    _index(photos, tmp_path / "index")
    chunk = tmp_path / "index" / "features-000000.npz"
    size = chunk.stat().st_size
    for content in (b"", b"PK\x03\x04 half a zip file", b"not a zip file"):
        chunk.write_bytes(content)
        assert _index(photos, tmp_path / "index") == (6, [])
        assert chunk.stat().st_size == size


def test_what_a_killed_run_has_half_written_is_cleared_away(photos, tmp_path):
    """A folder without other files is treated as an unfinished index."""
    out = tmp_path / "index"
    out.mkdir()
    for name in ("weights.safetensors", "hasher.safetensors", "index.safetensors", "names.json", "features-000001.npz"):
        (out / f"{name}.{'0a' * 16}.tmp").write_text("half")
    (out / "index.lock").touch()
    assert _index(photos, out) == (6, [])
    assert not list(out.glob("*.tmp"))
