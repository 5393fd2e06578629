"""Sums over the processes that share a batch. Fits by two processes are tested in tests/training/test_together.py."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from tolerance import assert_close
from two_processes import needs_gloo, share_between_two_threads

from sklinvariant import SparseAutoencoder, distributed
from sklinvariant._distributed import (
    current_processes,
    is_shared,
    own_number,
    own_rows,
    share_of,
    whole_mean,
    whole_rows,
    whole_size,
    whole_sum,
)

BATCH = torch.arange(10.0, dtype=torch.float64).view(5, 2)


def test_without_a_group_nothing_changes():
    with distributed() as rank:
        assert rank == 0
        assert current_processes() is None
        with share_of(BATCH) as share:
            assert share is BATCH
            assert not is_shared()
            for function in (whole_sum, whole_mean, whole_rows):
                assert function(BATCH) is BATCH
            assert (whole_size(3), own_number(), own_rows(2)) == (3, 0, slice(None))


@needs_gloo
def test_a_group_of_one_process_is_as_none(tmp_path):
    code = (
        "import torch.distributed as dist; from sklinvariant._distributed import current_processes, distributed\n"
        f"dist.init_process_group('gloo', init_method='file://{tmp_path}/store', rank=0, world_size=1)\n"
        "with distributed() as rank: assert rank == 0 and current_processes() is None\n"
        "dist.destroy_process_group()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@needs_gloo
def test_a_fit_does_not_keep_the_group_alive(tmp_path):
    """The threads of a group that outlives `destroy_process_group` may abort the process when it ends."""
    code = (
        "import gc, weakref, torch.distributed as dist; from sklinvariant import SparseAutoencoder, distributed\n"
        f"dist.init_process_group('gloo', init_method='file://{tmp_path}/store', rank=0, world_size=1)\n"
        "group = weakref.ref(dist.group.WORLD)\n"
        "with distributed(): SparseAutoencoder(2, max_epochs=1).fit([[1, 2], [3, 4]])\n"
        "dist.destroy_process_group(); gc.collect(); assert group() is None"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@needs_gloo
def test_torchrun_without_a_group(monkeypatch):
    monkeypatch.setitem(os.environ, "TORCHELASTIC_RUN_ID", "1")
    with pytest.raises(RuntimeError, match=r"Call torch\.distributed\.init_process_group"):
        distributed().__enter__()


def test_shares_and_their_sums(monkeypatch):
    def sums(share):
        numbers = own_rows(), own_rows(2), whole_size(len(share)), whole_size(3 * len(share)), own_number()
        return share, numbers, whole_sum(share.sum(0)), whole_mean(share.mean(0)), whole_rows(share)

    results = share_between_two_threads(monkeypatch, sums, BATCH)
    assert torch.equal(torch.cat([share for share, *_ in results]), BATCH)
    assert results[0][1] == (slice(0, 2), slice(0, 4), 5, 15, 0)
    assert results[1][1] == (slice(2, 5), slice(4, 10), 5, 15, 1)
    for _, _, total, mean, rows in results:
        assert_close(total, BATCH.sum(0))
        assert_close(mean, BATCH.mean(0))
        assert_close(rows, BATCH)


def test_integers_are_gathered(monkeypatch):
    classes = torch.arange(5) % 3
    for rows in share_between_two_threads(monkeypatch, whole_rows, classes):
        assert torch.equal(rows, classes)


def test_average_gradients_are_those_of_the_whole_batch(monkeypatch):
    """With a penalty that does not depend on the batch, a mean inside a function, and comparisons of rows."""

    def gradient(share):
        weight = torch.tensor([0.3, -0.7], dtype=torch.float64, requires_grad=True)
        z = share @ weight / 10
        everything = whole_rows(z)
        compared = (z[:, None] - everything).sigmoid().mean()
        loss = whole_mean(z.square().mean()) + whole_mean(z.mean()).exp() + whole_mean(compared) + weight.square().sum()
        loss.backward()
        return weight.grad

    shared = share_between_two_threads(monkeypatch, gradient, BATCH)
    assert_close(torch.stack(shared).mean(0), gradient(BATCH))


def test_a_batch_of_one_sample_is_not_shared(monkeypatch):
    results = share_between_two_threads(monkeypatch, lambda share: (share, is_shared()), BATCH[:1])
    assert all(torch.equal(share, BATCH[:1]) and not shared for share, shared in results)


def test_an_error_ends_the_share(monkeypatch):
    def fail(share):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        share_between_two_threads(monkeypatch, fail, BATCH)
    assert not is_shared()


def test_without_a_group_fits_are_those_without_the_context():
    X = np.random.RandomState(0).rand(20, 4)
    with distributed():
        inside = SparseAutoencoder(3, max_epochs=1, random_state=0).fit(X)
    np.testing.assert_array_equal(
        inside.components_, SparseAutoencoder(3, max_epochs=1, random_state=0).fit(X).components_
    )
