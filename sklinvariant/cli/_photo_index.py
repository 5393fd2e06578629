"""An index of a folder of photographs, built in steps that survive an interruption, to find images of the same object.

The folder of an index contains

``settings.json``
    The settings, written first.
``weights.safetensors``
    The network, or the learned features that replace it.
``features-*.npz``
    The features and the key points of 64 photographs each. Each file names its photographs and a hash of settings and
    weights, so that features of other settings are never used for this index.
``hasher.safetensors``, ``index.safetensors``, ``keypoints.safetensors``, ``places.npy``, ``names.json``
    The index itself: codes of photographs, codes and places of their key points, names. ``names.json`` is written
    last: if it exists, the index is complete.
``index.lock``
    Names the process that writes to the folder, or is empty.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sklinvariant.base import replacing
from sklinvariant.cli._keypoint_index import (
    CODE_BYTES,
    N_FAST_KEYPOINTS,
    N_KEYPOINTS,
    KeypointIndex,
    check_places,
    pack,
    unpack,
)
from sklinvariant.cli._lock import locked
from sklinvariant.cli._photos import check_still_there, learn_backbone, list_images, photo_identity, squeezenet

if TYPE_CHECKING:
    from sklinvariant.pooling import NestedInvariancePooler

LIMITS = {"n_bits": (1, 65_536), "image_size": (16, 4096), "n_rotations": (1, 360), "n_scales": (1, 100)}
_MOST_KEYPOINTS = 10_000
_CHUNK = 64  # photographs whose features are saved together; an interruption loses at most these
_SETTINGS = "settings.json"
_LOCK = "index.lock"
_NEEDED = {"photos", "n_bits", "image_size", "n_rotations", "n_scales", "backbone"}  # an index of any version has these
_MADE = re.compile(r"features-\d+\.npz|(weights|hasher|index|keypoints)\.safetensors|places\.npy")
_HALF_WRITTEN = re.compile(
    r"(features-\d+|settings|names|weights|hasher|index|keypoints|places)(\.npz|\.npy|\.json|\.safetensors)?\.[0-9a-f]{32}\.tmp(\.npz)?"
)


class Answer(NamedTuple):
    """The result of a query."""

    found: dict[str, list[tuple[int, str]]]  # image: (distance in bits, photograph), the best first
    matches: dict[str, dict[str, int]]  # image: {photograph that shows the same: number of matching key points}
    failed: list[tuple[str, str]]  # images that could not be read, and why
    changed: dict[str, str]  # results whose file is missing or has changed, and why
    n_bits: int


def make_index(
    photos: str | os.PathLike,
    out: str | os.PathLike,
    *,
    n_bits: int = 128,
    weights: str | os.PathLike | None = None,
    image_size: int = 128,
    n_rotations: int | None = None,
    n_scales: int | None = None,
    seed: int = 0,
    follow_links: bool = False,
    fast: bool = False,
    device: str = "auto",
    show: bool = True,
) -> tuple[int, list[tuple[str, str]]]:
    """Index all images below a folder. Returns the number of indexed photographs, and (file, reason) of skipped ones.

    Settings, weights, chunks of features and finally the index are written to the folder ``out``. Chunks of an
    interrupted run with the same settings are reused. Photographs that have changed, or that could not be read, are
    read again. Only one process at a time can write to the folder. By default, the code of a photograph is made from 12
    rotations at 3 scales; ``fast`` takes 4 rotations at 1 scale, and half of the key points.
    """
    from sklinvariant import save
    from sklinvariant.neighbors import HammingNeighbors

    photos, out = Path(photos).resolve(), Path(out)
    files = list_images(photos, but=out, follow_links=follow_links)
    if not files:
        raise ValueError(f"{photos} contains no images. Pass a folder that contains some.")
    settings = {
        "photos": str(photos),
        "n_bits": n_bits,
        "image_size": image_size,
        "n_rotations": n_rotations or (4 if fast else 12),
        "n_scales": n_scales or (1 if fast else 3),
        "backbone": "squeezenet" if weights else "kmeans",
        "weights": hashlib.sha256(Path(weights).read_bytes()).hexdigest() if weights else None,
        "seed": seed,
        "n_keypoints": N_FAST_KEYPOINTS if fast else N_KEYPOINTS,
    }
    out.mkdir(parents=True, exist_ok=True)
    _check_folder(out)  # checked before the lock file is created
    with locked(out / _LOCK, out):
        _start(out, settings, files, weights, device)
        maker = _maker(out, settings)
        pooler = make_pooler(out, settings, device)
        features, keypoints, kept, skipped = _features(out, photos, files, pooler, maker, settings["n_keypoints"], show)
        check_still_there(photos)
        if len(kept) < 2:
            raise ValueError(
                f"{len(kept)} of {len(files)} images in {photos} can be read, but an index requires 2. Add images."
            )
        hasher = _make_hasher(n_bits, features.shape[1], len(kept), seed, device)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*all features are constant")  # the photographs may be the same
            hasher.fit(features)
        save(hasher.set_params(device="auto"), out / "hasher.safetensors")  # for any machine
        save(HammingNeighbors(packed=True).fit(hasher.transform(features)), out / "index.safetensors")
        counts = _write_keypoints(out, keypoints)
        if read_settings(out) != settings or _maker(out, settings) != maker:
            raise ValueError(f"another program changed {out} during the run. Run the command again.")
        _write_json(out / "names.json", {"maker": maker, "n_bits": n_bits, "photos": kept, "n_keypoints": counts})
    return len(kept), skipped


def query_index(
    out: str | os.PathLike,
    images: Sequence[str | os.PathLike],
    *,
    n_neighbors: int = 8,
    fast: bool = False,
    device: str = "auto",
) -> Answer:
    """The photographs that show the same as each image, then those with the nearest codes, as an `Answer`.

    ``fast`` compares half of the key points of each image.
    """
    from sklinvariant.neighbors import HammingNeighbors

    out = Path(out)
    settings = read_settings(out)
    if settings is None or not (out / "names.json").exists():
        raise FileNotFoundError(f"{out} contains no finished index. Create it with: sklinvariant index")
    _check_settings(out, settings)
    photos, counts = _read_photos(out, settings)
    index = _load(out / "index.safetensors", HammingNeighbors, mmap_mode="r")
    if index.n_samples_fit_ != len(photos):
        raise ValueError(f"{out} lists {len(photos)} photographs but contains {index.n_samples_fit_} codes. {_AGAIN}")
    known = _read_keypoints(out, counts, len(photos))
    n_keypoints = min(settings.get("n_keypoints", 0), N_FAST_KEYPOINTS if fast else _MOST_KEYPOINTS)
    codes, keypoints, failed = _read_queries(out, settings, [str(image) for image in images], n_keypoints, device)
    answer = Answer({}, {}, failed, {}, settings["n_bits"])
    for image, code in codes.items():
        matches = known.matches(keypoints[image]) if known else {}
        rows, distances = _ranked(index, code, matches, min(n_neighbors, len(photos)))
        name, files = str(images[image]), [photos[row][0] for row in rows]
        answer.found[name] = list(zip(distances, files, strict=True))
        answer.matches[name] = {photos[row][0]: matches[row] for row in rows if row in matches}
        reasons = {file: _difference(file, photos[row][1]) for row, file in zip(rows, files, strict=True)}
        answer.changed.update({file: reason for file, reason in reasons.items() if reason})
    return answer


def _read_queries(out, settings, images, n_keypoints, device):
    """Codes and key points of images by row, and (image, reason) of those that cannot be read."""
    from sklinvariant.feature_extraction import ConvolutionalFeatures
    from sklinvariant.hashing import ITQHasher, RBMHasher

    if settings["backbone"] == "kmeans":
        _load(out / "weights.safetensors", ConvolutionalFeatures)
    pooler = make_pooler(out, settings, device)
    hasher = _load(out / "hasher.safetensors", ITQHasher, RBMHasher).set_params(device=device)
    features, keypoints, failed = _read(pooler, images, n_keypoints)
    good = np.flatnonzero(~np.isnan(features).any(axis=1))
    codes = hasher.transform(features[good]) if len(good) else []
    return dict(zip(good.tolist(), codes, strict=True)), keypoints, failed


def _ranked(index, code, matches, n_neighbors):
    """Rows of the photographs that show the same, those with most matches first, then of the nearest codes."""
    near = index.kneighbors(code[None], n_neighbors, return_distance=False)[0].tolist()
    same = sorted(matches, key=lambda row: -matches[row])
    rows = [*same, *(row for row in near if row not in matches)][:n_neighbors]
    distances = np.unpackbits(index.codes_[rows] ^ code, axis=1).sum(axis=1)
    return rows, distances.tolist()


def make_pooler(out: str | os.PathLike, settings: dict[str, Any], device: str = "auto") -> NestedInvariancePooler:
    """The pooler of an index, from its settings and weights."""
    import torch

    from sklinvariant import NestedInvariancePooler, load
    from sklinvariant.transforms import Rotation, Scale

    weights = Path(out) / "weights.safetensors"
    backbone = load(weights) if settings["backbone"] == "kmeans" else squeezenet(weights)
    size = settings["image_size"]
    transforms = {
        "rotation": Rotation(n_steps=settings["n_rotations"]),
        "scale": Scale(n_steps=settings["n_scales"]),
    }
    on_cpu = not torch.cuda.is_available() if device == "auto" else device == "cpu"
    pooler = NestedInvariancePooler(
        backbone,
        transforms=transforms,
        image_size=size,
        on_error="nan",
        batch_size=8 if on_cpu else 32,  # the maps of 8 views fit into the cache of a processor
        device=device,
    )
    return pooler.fit([np.zeros((size, size, 3), np.uint8)])


def read_settings(out: Path) -> dict[str, Any] | None:
    """The settings of a finished or unfinished index in a folder; None if there is none."""
    try:
        settings = json.loads((out / _SETTINGS).read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return settings if isinstance(settings, dict) and settings.keys() >= _NEEDED else None


_UNREADABLE = (OSError, ValueError, KeyError, EOFError, TypeError, OverflowError, zipfile.BadZipFile, zlib.error)
_AGAIN = "The index is damaged or was edited. Create it again with: sklinvariant index"


def _check_settings(out, settings):
    """Raise a ValueError if `make_index` cannot have written the settings, which may come from someone else."""
    wrong = [name for name, (low, high) in LIMITS.items() if not _is_count(settings[name], low, high)]
    wrong += [] if isinstance(settings["photos"], str) else ["photos"]
    wrong += [] if _is_count(settings.get("n_keypoints", 0), 0, _MOST_KEYPOINTS) else ["n_keypoints"]
    wrong += [] if settings["backbone"] in ("kmeans", "squeezenet") else ["backbone"]
    if wrong:
        raise ValueError(f"{out / _SETTINGS} has no valid value for {', '.join(wrong)}. {_AGAIN}")


def _is_count(value, low, high):
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _read_photos(out, settings):
    """(file, identity) of the photographs of a finished index, all inside its folder; their numbers of key points."""
    path = out / "names.json"
    try:
        content = json.loads(path.read_text())
        maker, n_bits = content["maker"], content["n_bits"]
        photos = [(str(name), [int(size), int(changed)]) for name, (size, changed) in content["photos"]]
        counts = [int(count) for count in content["n_keypoints"]]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read, or was written by another version. {_AGAIN}") from error
    for name, _ in photos:
        if not _is_inside(name):
            raise ValueError(f"{path} names {name!r}, which is not a file in the folder of photographs. {_AGAIN}")
    if maker != _maker(out, settings) or n_bits != settings["n_bits"]:
        raise ValueError(f"{path} does not belong to the settings and weights beside it. {_AGAIN}")
    folder = Path(settings["photos"])
    return [(str(folder / name), identity) for name, identity in photos], counts


def _read_keypoints(out, counts, n_photos):
    """The key points of a finished index, of which each photograph has a number; None if there are none."""
    from sklinvariant.neighbors import HammingNeighbors

    if len(counts) != n_photos:
        raise ValueError(f"{out} lists {n_photos} photographs but the key points of {len(counts)}. {_AGAIN}")
    if not any(counts):
        return None
    path = out / "places.npy"
    try:
        places = np.load(path, mmap_mode="r", allow_pickle=False)
        check_places(places, np.array(counts), n_photos)
    except _UNREADABLE as error:
        raise ValueError(f"{path} is missing or cannot be read: {error}. {_AGAIN}") from error
    codes = _load(out / "keypoints.safetensors", HammingNeighbors, mmap_mode="r")
    if codes.codes_.shape != (len(places), CODE_BYTES) or codes.n_samples_fit_ != len(places):
        raise ValueError(f"{out} contains {len(places)} key points but {codes.n_samples_fit_} codes. {_AGAIN}")
    return KeypointIndex(codes, places, np.array(counts))


def _is_inside(name):
    path = PurePath(name)
    return bool(path.parts) and not path.anchor and ".." not in path.parts and "\0" not in name


def _difference(file, identity):
    """Why a file is not the photograph that was indexed; None if it is.

    An index from someone else may name any file, such as one in a home folder. Its author cannot know when these files
    were changed, so they never appear in a report.
    """
    here = photo_identity(file)
    if here is None:
        return "no longer exists"
    margin = 2e9  # nanoseconds: copies, archives and some file systems round times
    same = here[0] == identity[0] and abs(here[1] - identity[1]) <= margin
    return None if same else "changed since it was indexed"


def _load(path, *kinds, **settings):
    """Load a part of an index, which must be of one of the kinds that `make_index` writes."""
    from sklinvariant import load

    try:
        estimator = load(path, **settings)
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing. {_AGAIN}") from error
    if not isinstance(estimator, kinds):
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"{path} contains a {type(estimator).__name__}, but {expected} is required. {_AGAIN}")
    return estimator


def _check_folder(out):
    """Raise a ValueError if a folder contains anything but a finished or unfinished index."""
    of_an_index = read_settings(out) is not None
    if not of_an_index and not all(_HALF_WRITTEN.fullmatch(path.name) or path.name == _LOCK for path in out.iterdir()):
        reason = f" ({_SETTINGS} does not belong to an index)" if (out / _SETTINGS).exists() else ""
        raise ValueError(f"{out} contains other files{reason}. Pass a new or empty folder.")


def _start(out, settings, files, weights, device):
    """Write settings and weights to the folder, and remove the files of an earlier run with other settings."""
    _check_folder(out)
    before = read_settings(out)
    (out / "names.json").unlink(missing_ok=True)
    trained = out / "weights.safetensors"
    kept = trained.exists() and before is not None and before | {"n_bits": 0} == settings | {"n_bits": 0}
    for path in list(out.iterdir()):
        if _HALF_WRITTEN.fullmatch(path.name) or (not kept and _MADE.fullmatch(path.name)):
            path.unlink()
    _write_json(out / _SETTINGS, settings)  # written first, because they mark the folder as an index
    if not kept:
        _write_weights(out, settings, files, weights, device)


def _write_weights(out, settings, files, weights, device):
    from safetensors.torch import save as to_safetensors

    from sklinvariant import save
    from sklinvariant.feature_extraction import load_weights
    from sklinvariant.networks import SqueezeNet11Features

    if settings["backbone"] == "squeezenet":
        data = to_safetensors(load_weights(SqueezeNet11Features(), weights).state_dict())
        with replacing(out / "weights.safetensors") as file:
            file.write(data)
    else:
        names = [str(Path(settings["photos"]) / name) for name, _ in files]
        save(learn_backbone(names, settings["image_size"], settings["seed"], device), out / "weights.safetensors")


def _maker(out, settings):
    """A hash of the settings, weights and stages of pooling, on which the features depend besides the photographs."""
    from sklinvariant import NestedInvariancePooler

    stages = str(NestedInvariancePooler().stages)  # an index of a version with other stages must be created again
    digest = hashlib.sha256(json.dumps(settings | {"n_bits": 0, "stages": stages}, sort_keys=True).encode())
    digest.update((out / "weights.safetensors").read_bytes())
    return digest.hexdigest()


def _features(out, folder, files, pooler, maker, n_keypoints, show):
    """Features (n, d), key points and files, and (file, reason) of unreadable files. Each chunk is saved at once."""
    from tqdm import tqdm

    features, keypoints, kept, skipped = [], [], [], []
    with tqdm(total=len(files), unit="photo", desc="features", disable=not show, file=sys.stderr) as bar:
        for start in range(0, len(files), _CHUNK):
            chunk = files[start : start + _CHUNK]
            path = out / f"features-{start // _CHUNK:06d}.npz"
            values, points, failed = _chunk(path, folder, chunk, pooler, maker, n_keypoints)
            good = np.flatnonzero(~np.isnan(values).any(axis=1))
            features.append(values[good])
            keypoints += [points[row] for row in good]
            kept += [chunk[row] for row in good]
            skipped += failed
            bar.update(len(chunk))
    return np.concatenate(features), keypoints, kept, skipped


def _chunk(path, folder, chunk, pooler, maker, n_keypoints):
    """Features and key points of a chunk, and (file, reason) of unreadable files.

    Photographs that could not be read in an earlier run are tried again, because the cause may have been temporary.
    """
    values, keypoints = _stored(path, chunk, maker)
    rows = range(len(chunk)) if values is None else np.flatnonzero(np.isnan(values).any(axis=1))
    if not len(rows):
        return values, keypoints, []
    read, points, failed = _read(pooler, [str(folder / chunk[row][0]) for row in rows], n_keypoints)
    if values is None:
        values, keypoints = read, points
    else:
        values[rows] = read
        for row, found in zip(rows, points, strict=True):
            keypoints[row] = found
    if len(failed) < len(rows):
        with replacing(path) as file:
            np.savez(file, features=values, files=json.dumps(chunk), maker=maker, **pack(keypoints))
    return values, keypoints, [(str(Path(file).relative_to(folder)), reason) for file, reason in failed]


def _read(pooler, files, n_keypoints):
    """Features, NaN for unreadable files, the key points of each file, and (file, reason) of unreadable files."""
    from sklinvariant.images import NO_KEYPOINTS, ImageStream, find_keypoints

    look = (lambda image: find_keypoints(image, n_keypoints)) if n_keypoints else None
    stream: Any = ImageStream(files, pooler.image_size, pooler.fill, on_error="nan", look=look)
    values = pooler.transform(stream)
    keypoints = [stream.seen.get(row, NO_KEYPOINTS) for row in range(len(files))]
    return values, keypoints, [(files[row], reason) for row, reason in stream.failed]


def _stored(path: str, chunk: Any, maker: str) -> Any:
    """The saved features and key points of a chunk; None if it is damaged or of other photographs or settings."""
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            if str(file["maker"]) == maker and json.loads(str(file["files"])) == [list(item) for item in chunk]:
                values, keypoints = file["features"], unpack(file, len(chunk))
                return (values, keypoints) if values.ndim == 2 and len(values) == len(chunk) else (None, None)
    except _UNREADABLE:
        pass  # missing or damaged: compute the features again
    return None, None


def _write_keypoints(out, keypoints):
    """Write the codes and places of the key points of all photographs. Return their number for each photograph."""
    from sklinvariant import save
    from sklinvariant.neighbors import HammingNeighbors

    arrays = pack(keypoints)
    if len(arrays["codes"]):
        save(HammingNeighbors(packed=True).fit(arrays["codes"]), out / "keypoints.safetensors")
        with replacing(out / "places.npy") as file:
            np.save(file, arrays["places"])
    return arrays["counts"].tolist()


def _write_json(path, content):
    with replacing(path, "w") as file:
        json.dump(content, file, indent=1)


def _make_hasher(n_bits, n_features, n, seed, device):
    """ITQ, which was better on small collections, if it supports the number of bits; otherwise RBM hashing."""
    from sklinvariant.hashing import ITQHasher, RBMHasher

    if n_bits <= min(n_features, n):
        return ITQHasher(n_bits, packed=True, random_state=seed, device=device)
    steps = 200_000  # in total, whatever the number of photographs
    max_epochs = int(np.clip(steps // n, 20, 400))
    return RBMHasher(n_bits, max_epochs=max_epochs, packed=True, random_state=seed, device=device)
