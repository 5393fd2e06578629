"""Dask in, Dask out: methods that answer sample by sample are called later, on each block of a Dask collection."""

from __future__ import annotations

import copy
import functools
from typing import Any

import numpy as np
import torch

from sklinvariant._compat import output_container

# methods whose answer has one row for each sample of X, which depends on no other sample
BY_SAMPLE = {
    "decision_function",
    "embed",
    "inverse_transform",
    "predict",
    "predict_angle",
    "predict_log_proba",
    "predict_proba",
    "score_samples",
    "transform",
}


def is_lazy(X: Any) -> bool:
    """Whether X is a Dask array, data frame or bag, or a list of delayed blocks of samples."""
    return type(X).__module__.startswith(("dask.array", "dask.dataframe", "dask.bag")) or are_delayed_blocks(X)


def _is_array(X):
    return type(X).__module__.startswith("dask.array")


def is_bag(X: Any) -> bool:
    """Whether X is a Dask bag."""
    return type(X).__module__.startswith("dask.bag")


def are_delayed_blocks(X: Any) -> bool:
    """Whether X is a list of delayed blocks of samples."""
    return isinstance(X, (list, tuple)) and len(X) > 0 and all(map(_is_delayed, X))


def _is_delayed(value):
    return type(value).__module__.startswith("dask.delayed")


def blocks_of(X: Any) -> list[Any]:
    """The blocks of a Dask collection, each a `Delayed` of some of the samples."""
    if _is_array(X):
        return _in_whole_samples(X).to_delayed().ravel().tolist()
    if is_bag(X):
        return X.map_partitions(list).to_delayed()
    return list(X) if are_delayed_blocks(X) else X.to_delayed()


def _in_whole_samples(X):
    """A Dask array whose chunks contain all of each of their samples."""
    return X.rechunk(dict.fromkeys(range(1, X.ndim), -1))


def of_block(i: int, error: Exception) -> Exception:
    """The error with the number of the block in its message."""
    kind = TypeError if isinstance(error, TypeError) else ValueError
    return kind(f"block {i} of X: {error}")


def no_samples(blocks: list[Any]) -> ValueError:
    """The error for blocks that are all empty."""
    return ValueError(f"X holds 0 sample(s) in {len(blocks)} block(s), but a minimum of 1 is required. Pass a sample")


def whole(blocks: Any) -> Any:
    """The samples of a list of delayed blocks in memory, in the order of the blocks."""
    import dask

    blocks = dask.compute(*blocks)
    kind = type(blocks[0])
    if kind in (list, tuple):
        return [sample for block in blocks for sample in block]
    if hasattr(kind, "concatenate"):  # DescriptorSets
        return kind.concatenate(blocks)
    if hasattr(kind, "iloc"):
        import pandas

        return pandas.concat(blocks)
    if issubclass(kind, torch.Tensor):
        return torch.cat(blocks)
    return np.concatenate(blocks)


def lazy_answer(estimator: Any, name: str, X: Any, *others: Any, **named: Any) -> Any:
    """The Dask array of the answers of method ``name`` for a Dask collection, or a list of delayed blocks of bags.

    The method is called at once for one sample, so that wrong input is refused early, and to learn the shape and dtype
    of an answer. None is returned if answers are neither arrays nor bags of descriptors, for instance data frames.
    """
    if output_container(estimator) != "default":
        return None
    # a copy, so that the answer does not change if the estimator is fitted again
    call = functools.partial(_call, copy.copy(estimator), name, others, named)
    return _of_array(call, X) if _is_array(X) else _of_blocks(call, X)


def _call(estimator, name, others, named, block):
    return getattr(estimator, name)(block, *others, **named)


def _of_array(call, X):
    X = _in_whole_samples(X)
    none = _no_answer(call, np.zeros((1, *X.shape[1:]), X.dtype))
    if type(none) is not np.ndarray:
        return none if none is None else _delayed_answers(call, none, blocks_of(X))
    return X.map_blocks(
        functools.partial(_answer_of_chunk, call, none),
        dtype=none.dtype,
        chunks=(X.chunks[0], *((size,) for size in none.shape[1:])),
        drop_axis=list(range(1, X.ndim)),
        new_axis=list(range(1, none.ndim)),
        meta=none,
    )


def _of_blocks(call, X):
    import dask.array

    blocks = blocks_of(X)
    none = _no_answer(call, first_sample(blocks))
    if none is None:
        return None
    answers = _delayed_answers(call, none, blocks)
    if type(none) is not np.ndarray:
        return answers
    shape = (np.nan, *none.shape[1:])  # the number of samples of a block is not known before it is computed
    arrays = [dask.array.from_delayed(answer, shape, none.dtype, meta=none) for answer in answers]
    return dask.array.concatenate(arrays, allow_unknown_chunksizes=True)


def _delayed_answers(call, none, blocks):
    import dask

    later = dask.delayed(functools.partial(_answer, call, none), pure=True)
    return [later(block, i) for i, block in enumerate(blocks)]


def first_sample(blocks: list[Any]) -> Any:
    """The first sample of delayed blocks, in memory, as a block of one sample."""
    for block in blocks:
        sample = block[:1].compute()
        if len(sample):
            return sample
    raise no_samples(blocks)


def _no_answer(call, sample):
    """The answer for none of the samples, an array or bags of length 0; None if answers are something else."""
    answer = call(sample)
    return answer[:0] if type(answer) is np.ndarray or hasattr(answer, "offsets") else None


def _answer(call, none, block, i):
    try:
        return call(block) if len(block) else none
    except (TypeError, ValueError) as error:
        raise of_block(i, error) from error


def _answer_of_chunk(call, none, block, block_info):
    return _answer(call, none, block, block_info[0]["chunk-location"][0])
