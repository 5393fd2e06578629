"""Writing never destroys the previous file: not when it is the source, the disk is full, or writing is interrupted."""

import contextlib
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

import sklinvariant
from sklinvariant import DescriptorSets
from sklinvariant.aggregation import BagOfWords
from sklinvariant.bags import _descriptor_sets as _descriptors
from sklinvariant.base import _writing as _writing
from sklinvariant.cluster import IICClusterer
from sklinvariant.neighbors import HammingNeighbors

OLD = DescriptorSets(np.arange(30.0).reshape(15, 2), [0, 5, 5, 15])
NEW = DescriptorSets(-np.arange(30.0).reshape(15, 2), [0, 1, 2, 15])  # as many values in other bags


def _model(seed):
    return BagOfWords(3, random_state=seed).fit(np.random.RandomState(seed).normal(size=(5, 8, 3)))


def _index(seed):
    return HammingNeighbors().fit(np.random.RandomState(seed).randint(2, size=(50, 16)))


def _lists(seed):
    """An index that is written in parts."""
    codes = np.random.RandomState(seed).randint(2, size=(500, 16))
    return HammingNeighbors(index="ivf", recall=0, random_state=0).fit(codes)


def _files(path):
    return {str(file.relative_to(path)) for file in Path(path).rglob("*") if file.is_file()}


@contextlib.contextmanager
def disk_space(left=None):
    """A disk with a given number of free bytes. Returns a function that changes this number.

    The limit holds for the whole process, and so for the log of pytest too: only what is tested may run inside.
    """
    resource = pytest.importorskip("resource", reason="needs a limit on the size of files, which Windows lacks")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal_before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def leave(n_bytes):
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))

    try:
        if left is not None:
            leave(left)
        yield leave
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, signal_before)


@pytest.mark.parametrize("mmap_mode", ["r", "r+", "c", None])
def test_a_set_saved_onto_its_own_source(tmp_path, mmap_mode):
    whole = DescriptorSets(np.random.RandomState(0).normal(size=(20_000, 8)), np.arange(0, 20_001, 100))
    whole.save(tmp_path / "bags")
    loaded = DescriptorSets.load(tmp_path / "bags", mmap_mode=mmap_mode)
    loaded[:40].save(tmp_path / "bags")
    assert DescriptorSets.load(tmp_path / "bags") == whole[:40]
    assert loaded == whole, "what was mapped from the old file must stay valid"
    loaded[[3, 1]].save(tmp_path / "bags")
    assert DescriptorSets.load(tmp_path / "bags") == whole[[3, 1]]
    loaded.save(tmp_path / "bags")
    assert DescriptorSets.load(tmp_path / "bags") == whole


def test_a_model_and_an_index_saved_onto_their_own_source(tmp_path):
    index = _index(0)
    codes = index.codes_.copy()
    index.save(tmp_path / "index")
    mapped = HammingNeighbors.load(tmp_path / "index", mmap_mode="r")
    mapped.save(tmp_path / "index")
    np.testing.assert_array_equal(mapped.codes_, codes)
    np.testing.assert_array_equal(HammingNeighbors.load(tmp_path / "index").codes_, codes)


@pytest.mark.parametrize("kept", ["nothing", "a set"])
@pytest.mark.parametrize("left", [0, 100, 200])
def test_a_set_on_a_full_disk(tmp_path, kept, left):
    path = tmp_path / "bags"
    if kept == "a set":
        OLD.save(path)
    with disk_space(left), pytest.raises(OSError, match=r"File too large|written"):
        NEW.save(path)
    if kept == "a set":
        assert DescriptorSets.load(path) == OLD
        assert _files(path) == {"values.npy", "offsets.npy"}
    else:
        assert not _files(tmp_path)
        with pytest.raises(FileNotFoundError):
            DescriptorSets.load(path)


@pytest.mark.parametrize("make", [_model, _index, _lists])
@pytest.mark.parametrize("left", [0, 500, 0.9])
def test_a_model_on_a_full_disk(tmp_path, make, left):
    sklinvariant.save(make(0), tmp_path / "model")
    before = (tmp_path / "model").read_bytes()
    left = left if isinstance(left, int) else int(left * len(before))
    with disk_space(left), pytest.raises(OSError, match=r"so the file was not written: .*model"):
        sklinvariant.save(make(1), tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == before
    assert _files(tmp_path) == {"model"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("step", range(8))
def test_a_set_interrupted_at_any_step(tmp_path, monkeypatch, error, step):
    """If the process ends at any call that writes, the data set is the complete old or new one."""
    OLD.save(tmp_path / "bags")
    steps = []

    def counted(call):
        def wrapped(*args, **kwargs):
            if len(steps) == step:
                raise error("stopped here")
            steps.append(call)
            return call(*args, **kwargs)

        return wrapped

    with monkeypatch.context() as patch:
        patch.setattr(_descriptors.np, "save", counted(np.save))
        patch.setattr(_writing.os, "fsync", counted(os.fsync))
        patch.setattr(_writing.os, "replace", counted(os.replace))
        try:
            NEW.save(tmp_path / "bags")
            stopped = False
        except error:
            stopped = True
    assert stopped == (step < 7), "a save takes three arrays, two flushes and two replacements"
    again = DescriptorSets.load(tmp_path / "bags")
    assert again in (OLD, NEW)
    assert stopped or again == NEW
    assert _files(tmp_path / "bags") == {"values.npy", "offsets.npy"}


def test_a_set_killed_at_any_time(tmp_path):
    """If a process that saves two data sets in turn is killed, one of them is complete."""
    code = (
        "import sys, numpy as np\n"
        "from sklinvariant import DescriptorSets\n"
        "values = np.ones((20_000, 8))\n"
        "sets = [DescriptorSets(values, [0, 5, 20_000]), DescriptorSets(2 * values, [0, 7, 20_000])]\n"
        "sets[0].save(sys.argv[1])\n"
        "print('go', flush=True)\n"
        "while True:\n"
        "    for bags in sets: bags.save(sys.argv[1])\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, tmp_path / "bags"], stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout.readline() == "go\n"
        for _ in range(200):  # a reader beside the writer sees whole sets too
            _check_killed(tmp_path / "bags")
    finally:
        writer.kill()
        writer.communicate()
    _check_killed(tmp_path / "bags")


def _check_killed(path):
    bags = DescriptorSets.load(path, mmap_mode=None)
    assert (bags.values == bags.values[0, 0]).all()
    assert bags.offsets.tolist() == ([0, 5, 20_000] if bags.values[0, 0] == 1 else [0, 7, 20_000])


def test_sets_are_plain_files(tmp_path):
    """The files of `save` can be read with numpy alone."""
    NEW.save(tmp_path / "bags")
    np.testing.assert_array_equal(np.load(tmp_path / "bags" / "values.npy"), NEW.values)
    np.testing.assert_array_equal(np.load(tmp_path / "bags" / "values.npy", mmap_mode="r"), NEW.values)
    np.testing.assert_array_equal(np.load(tmp_path / "bags" / "offsets.npy"), NEW.offsets)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f2", "f4", ">f8", "u1", "i8"])
@pytest.mark.parametrize("mmap_mode", ["r", None])
def test_sets_of_the_first_release(tmp_path, order, dtype, mmap_mode):
    values = np.asarray(np.arange(30).reshape(15, 2), dtype=dtype, order=order)
    (tmp_path / "bags").mkdir()
    np.save(tmp_path / "bags" / "values.npy", values)
    np.save(tmp_path / "bags" / "offsets.npy", OLD.offsets)
    again = DescriptorSets.load(tmp_path / "bags", mmap_mode=mmap_mode)
    np.testing.assert_array_equal(again.values, values)
    assert again.values.dtype == values.dtype
    np.testing.assert_array_equal(again.offsets, OLD.offsets)
    again.save(tmp_path / "bags")
    assert DescriptorSets.load(tmp_path / "bags", mmap_mode=mmap_mode) == again


@pytest.mark.parametrize("mmap_mode", ["r", None])
def test_empty_sets(tmp_path, mmap_mode):
    for bags in (DescriptorSets(np.empty((0, 512)), [0]), DescriptorSets(np.empty((0, 3), np.float32), [0, 0, 0])):
        bags.save(tmp_path / "bags")
        again = DescriptorSets.load(tmp_path / "bags", mmap_mode=mmap_mode)
        assert again.values.shape == bags.values.shape
        assert again == bags


def test_a_link_is_replaced_not_followed(tmp_path):
    model = _model(0)
    sklinvariant.save(model, tmp_path / "model")
    before = (tmp_path / "model").read_bytes()
    (tmp_path / "link").symlink_to(tmp_path / "model")
    sklinvariant.save(_model(1), tmp_path / "link")
    assert (tmp_path / "model").read_bytes() == before
    assert not (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("make", [_model, _index, _lists])
def test_files_of_one_model_are_byte_identical(tmp_path, make):
    model = make(0)
    for i in range(10):  # an order left to chance would be the same ten times in 512 runs
        sklinvariant.save(model, tmp_path / str(i))
        model = sklinvariant.load(tmp_path / str(i))
    assert len({file.read_bytes() for file in tmp_path.iterdir()}) == 1


def test_a_missing_folder_and_a_folder_are_named(tmp_path):
    with pytest.raises(IsADirectoryError, match=r"is a folder, but the name of a file is required\. Add a file name"):
        sklinvariant.save(_model(0), tmp_path)
    missing = tmp_path / "missing" / "model"
    with pytest.raises(FileNotFoundError, match=r"model cannot be written, because there is no folder .*missing\. Cre"):
        sklinvariant.save(_model(0), missing)


# Checkpoints of a fit

ROWS = np.random.RandomState(0).normal(size=(24, 4)).astype(np.float32)


def _clusterer(path, **params):
    settings = {"n_neighbors": 4, "n_heads": 2, "max_epochs": 4, "random_state": 0} | params
    return IICClusterer(2, checkpoint=path, **settings)


class _Does(Callback):
    """Calls a function at the beginning of a given epoch."""

    def __init__(self, epoch, action):
        self.epoch, self.action = epoch, action

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == self.epoch:
            self.action()


def _interrupt():
    raise KeyboardInterrupt


def _interrupted_fit(path, **params):
    """Interrupt a fit so that a checkpoint of two epochs remains."""
    model = _clusterer(path, callbacks=[_Does(3, _interrupt)], **params)
    with contextlib.suppress(KeyboardInterrupt), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(ROWS)
    assert path.exists()


def _same_model(model, other):
    assert [row["loss"] for row in model.history_] == [row["loss"] for row in other.history_]
    np.testing.assert_array_equal(model.predict_proba(ROWS), other.predict_proba(ROWS))


@pytest.fixture(scope="module")
def whole():
    """A fit without a checkpoint."""
    return _clusterer(None).fit(ROWS)


def test_a_fit_outlasts_a_full_disk_under_its_checkpoint(tmp_path, whole):
    path = tmp_path / "fit"
    with disk_space() as leave:
        model = _clusterer(path, callbacks=[_Does(2, lambda: leave(1000))])
        with pytest.warns(RuntimeWarning, match=r"checkpoint=.*could not be written after epoch 2.*The fit continues"):
            model.fit(ROWS)
    _same_model(model, whole)
    assert not _files(tmp_path)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, whole):
    path = tmp_path / "fit"
    with disk_space() as leave, contextlib.suppress(KeyboardInterrupt), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _clusterer(path, callbacks=[_Does(2, lambda: leave(1000)), _Does(3, _interrupt)]).fit(ROWS)
    assert _files(tmp_path) == {"fit"}
    _same_model(_clusterer(path).fit(ROWS), whole)


@pytest.mark.parametrize(
    "content", [b"", b"my notes\n", b"PK\x03\x04 a document", b"\x80\x04\x95", b"sklinvariant\n"], ids=repr
)
def test_a_checkpoint_that_is_a_file_of_the_users(tmp_path, content):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    message = r"not a (complete )?checkpoint and was not changed. Pass another file"
    with pytest.raises(ValueError, match=message) as error:
        _clusterer(path).fit(ROWS)
    assert "delete" not in str(error.value)
    assert path.read_bytes() == content


def test_a_checkpoint_that_is_a_file_of_torch(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"weight": torch.ones(3), "history": []}, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="was not changed"):
        _clusterer(path).fit(ROWS)
    assert path.read_bytes() == before


def test_a_checkpoint_that_cannot_be_written_at_all(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "fit"):
        with pytest.raises(ValueError, match=r"cannot be used .*Pass another file"):
            _clusterer(path).fit(ROWS)


def test_files_beside_a_checkpoint_are_left_alone(tmp_path, whole):
    (tmp_path / "fit.part").write_text("of the user's")
    _same_model(_clusterer(tmp_path / "fit").fit(ROWS), whole)
    assert (tmp_path / "fit.part").read_text() == "of the user's"
    assert _files(tmp_path) == {"fit.part"}


def test_two_fits_share_a_checkpoint(tmp_path, whole):
    """The first fit continues without the checkpoint; the second, which wrote it last, keeps it."""
    path = tmp_path / "fit"
    kept = []

    def another():
        path.unlink(missing_ok=True)
        _interrupted_fit(path, learning_rate=0.02)
        kept.append(path.read_bytes())

    with pytest.warns(RuntimeWarning, match="is now used by another fit"):
        model = _clusterer(path, callbacks=[_Does(2, another)]).fit(ROWS)
    _same_model(model, whole)
    assert path.read_bytes() == kept[0]
    with pytest.raises(ValueError, match="to a fit with different learning_rate"):
        _clusterer(path).fit(ROWS)


def test_two_equal_fits_share_a_checkpoint(tmp_path, whole):
    """The second fit resumes from the checkpoint of the first; both give the same model."""
    path = tmp_path / "fit"
    others = []
    callbacks = [_Does(3, lambda: others.append(_clusterer(path).fit(ROWS)))]
    model = _clusterer(path, callbacks=callbacks).fit(ROWS)
    for one in (model, *others):
        _same_model(one, whole)
    assert len(others) == 1
    assert not path.exists()


def test_checkpoints_of_the_first_release(tmp_path, whole):
    path = tmp_path / "fit"
    _interrupted_fit(path)
    body = path.read_bytes().partition(b"\n")[2]
    path.write_bytes(body)  # which had no first line
    _same_model(_clusterer(path).fit(ROWS), whole)
    assert not path.exists()
