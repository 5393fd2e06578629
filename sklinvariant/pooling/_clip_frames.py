"""Frames of clips, given as rows in temporal order or as pairs, of which a later call may continue the last clip."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from sklinvariant._compat import output_container
from sklinvariant.base import DaskRows, Input, ShardRows, as_tensor
from sklinvariant.pairs import clip_ids, consecutive_mask, warn_of_shuffled

GROUPS_DOC = """
    groups : array-like of shape (n,), default=None
        The clip of each frame. Pairs are consecutive rows of the same clip. With None, all rows form one clip, and a
        warning is issued if consecutive rows are not more similar than random rows. Not used for explicit pairs. In a
        Pipeline, request ``groups`` with ``set_fit_request(groups=True)``.
    """


class ClipFrames(NamedTuple):
    """Rows (n, d), whether the next row is the next frame (n - 1,), and the fitted state derived from X."""

    rows: Any  # a tensor, or `ScatteredRows`
    follows: torch.Tensor
    kept: dict[str, Any]


def clip_frames(given: Input, groups: Any, earlier: dict[str, Any] | None, name: str) -> ClipFrames:
    """The frames of an `Input` of rows or pairs, and which of them are consecutive.

    ``earlier`` is the fitted state of the previous call or None. If its last frame belongs to the clip of the first
    row, it becomes the first frame, unless the rows are those of several processes. ``name`` is that of the estimator,
    for warnings.
    """
    rows = given.data
    kept: dict[str, Any] = {"last_frame": None, "last_clip": None, "namespace": given.kind.name}
    if given.in_pairs:
        return ClipFrames(rows, torch.arange(len(rows) - 1) % 2 == 0, kept)
    if isinstance(rows, ShardRows):
        return ClipFrames(rows, _follows_in_shards(rows, groups, name), kept)
    follows = consecutive_mask(groups, len(rows))
    if groups is None:
        warn_of_shuffled(rows, name)
    else:
        first_clip, last_clip = map(str, clip_ids(groups)[[0, -1]].tolist())  # ids are saved as strings
        if earlier is not None and earlier["last_clip"] == first_clip:
            last = as_tensor(earlier["last_frame"]).to(rows.device, given.dtype)
            is_lazy = isinstance(rows, DaskRows)
            rows = rows.preceded_by(last) if is_lazy else torch.cat([last, rows.to(given.dtype)])
            follows = torch.cat([torch.ones(1, dtype=torch.bool), follows])
        kept |= {"last_frame": rows[-1:].to(given.dtype).cpu().numpy().copy(), "last_clip": last_clip}
    return ClipFrames(rows, follows, kept)


def _follows_in_shards(rows, groups, name):
    """Which of the rows of all processes are consecutive; no clip goes on in another process."""
    with rows.processes.failing_together():
        own = consecutive_mask(groups, len(rows.own))
        if groups is None:
            warn_of_shuffled(rows.own, name)
    no_pair = torch.zeros(1, dtype=torch.bool)
    return torch.cat([part for other in rows.processes.gather(own) for part in (other, no_pair)])[:-1]


def stream_frames(
    estimator: Any, X: Any, groups: Any, check: Callable[[Input], None] = lambda given: None
) -> Iterator[tuple[Input, list[ClipFrames]]]:
    """The `Input` of each block of an iterable, and its frames, which are those of one clip.

    The pair of the last frame of the block before and the first frame is a part of its own, so that blocks are not
    copied. ``check`` raises a ValueError for blocks that cannot be used.
    """
    name = type(estimator).__name__
    if groups is not None:
        raise ValueError(
            f"groups cannot be given if X is an iterable, a {type(X).__name__}. Pass each block and its groups to "
            "partial_fit, or an iterable of pairs (n_pairs, 2, n_features)"
        )
    in_pairs: set[bool] = set()

    def check_block(given):
        check(given)
        in_pairs.add(given.in_pairs)
        if len(in_pairs) == 2:
            raise ValueError("an iterable must contain only rows, or only pairs of frames. Convert rows to pairs")

    last, is_checked = None, False
    for given in estimator._read_blocks(X, check_block):
        kept: dict[str, Any] = {"last_frame": None, "last_clip": None, "namespace": given.kind.name}
        if given.in_pairs:
            yield given, [ClipFrames(given.data, torch.arange(len(given.data) - 1) % 2 == 0, kept)]
            continue
        if not is_checked:
            is_checked = warn_of_shuffled(given.data, name)
        rows = given.data
        parts = [rows] if len(rows) > 1 else []
        if last is not None:
            parts.append(torch.cat([last.to(rows.device, given.dtype), rows[:1].to(given.dtype)]))
        last = rows[-1:].clone()
        yield given, [ClipFrames(part, torch.ones(len(part) - 1, dtype=torch.bool), kept) for part in parts]


def check_some_pairs(has_pairs: bool, n_samples: int) -> None:
    """Raise a ValueError if there is no pair of consecutive frames."""
    if not has_pairs:
        raise ValueError(
            f"no pair of consecutive frames of one clip in data with n_samples={n_samples}. Pass clips of at least "
            "two frames"
        )


def answer_frames(estimator: Any, given: Input, outputs: torch.Tensor) -> Any:
    """The outputs (n, k) for frames, as the kind of array of X; for pairs of frames (n_pairs, 2, k)."""
    if not given.in_pairs:
        return given.answer(outputs)
    if (table := output_container(estimator)) != "default":
        raise ValueError(
            f"transformed pairs have shape (n_pairs, 2, {outputs.shape[1]}), which a {table} table cannot hold. Pass "
            'rows, X.reshape(-1, n_features), or request arrays with set_output(transform="default")'
        )
    return given.answer(outputs.unflatten(0, (-1, 2)))
