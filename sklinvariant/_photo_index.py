"""An index of a folder of photographs: made in steps that survive an interruption, asked for the same object again."""

import hashlib
import json
import os
import re
import sys
import uuid
from pathlib import Path

import numpy as np

from sklinvariant._photos import learn_backbone, list_pictures, squeezenet

_CHUNK = 64  # photographs whose features are written together; what an interruption can lose
_SETTINGS = "settings.json"
_NEEDED = {"photos", "n_bits", "image_size", "n_rotations", "n_scales", "backbone"}
_MADE = re.compile(r"features-\d+\.npz|(weights|hasher|index)\.safetensors")
_HALF_WRITTEN = re.compile(
    r"(features-\d+|settings|names|weights|(hasher|index)\.safetensors)\.[0-9a-f]{32}\.tmp(\.npz)?"
)


def make_index(photos, out, *, n_bits=128, weights=None, image_size=128, n_rotations=12, n_scales=3, seed=0, show=True):
    """Index all pictures below a folder; the number of photographs indexed, and the (file, reason) of those skipped.

    ``out`` is a folder: settings, weights, features in chunks, and at the end the index. Whatever chunks are there
    from an interrupted run with the same settings are used; a photograph that changed since is read again.
    """
    from sklinvariant import save
    from sklinvariant.hashing import HammingNeighbors

    photos, out = Path(photos).resolve(), Path(out)
    files = list_pictures(photos, but=out)
    if not files:
        raise ValueError(f"{photos} holds no pictures")
    settings = {
        "photos": str(photos),
        "n_bits": n_bits,
        "image_size": image_size,
        "n_rotations": n_rotations,
        "n_scales": n_scales,
        "backbone": "squeezenet" if weights else "kmeans",
        "weights": hashlib.sha256(Path(weights).read_bytes()).hexdigest() if weights else None,
        "seed": seed,
    }
    _start(out, settings, files, weights)
    pooler = make_pooler(out, settings)
    features, names, skipped = _features(out, files, pooler, show)
    if len(names) < 2:
        raise ValueError(f"{len(names)} of {len(files)} pictures in {photos} can be read; an index needs 2")
    hasher = _make_hasher(n_bits, features.shape[1], len(names), seed).fit(features)
    save(hasher, out / "hasher.safetensors")
    save(HammingNeighbors(packed=True).fit(hasher.transform(features)), out / "index.safetensors")
    _write_json(out / "names.json", names)  # the last: an index is whole where this is
    return len(names), skipped


def query_index(out, images, *, n_neighbors=8):
    """For each image a list of (distance in bits, file), the nearest first; (file, reason) of those not readable."""
    from sklinvariant import load

    out = Path(out)
    settings = read_settings(out)
    if settings is None or not (out / "names.json").exists():
        raise FileNotFoundError(f"{out} holds no finished index; make one with: python -m sklinvariant index")
    names = json.loads((out / "names.json").read_text())
    pooler, hasher = make_pooler(out, settings), load(out / "hasher.safetensors")
    index = load(out / "index.safetensors", mmap_mode="r")
    features, failed = _read(pooler, [str(image) for image in images])
    good = ~np.isnan(features).any(axis=1)
    found = {}
    if good.any():
        distances, ids = index.kneighbors(hasher.transform(features[good]), min(n_neighbors, len(names)))
        for image, near, rows in zip(np.flatnonzero(good), distances, ids, strict=True):
            folder = Path(settings["photos"])
            found[str(images[image])] = [(int(d), str(folder / names[i])) for d, i in zip(near, rows, strict=True)]
    return found, failed


def make_pooler(out, settings):
    """The pooler of an index, from its settings and weights."""
    from sklinvariant import NestedInvariancePooler, load
    from sklinvariant.transforms import Rotation, Scale

    weights = Path(out) / "weights.safetensors"
    backbone = load(weights) if settings["backbone"] == "kmeans" else squeezenet(weights)
    size = settings["image_size"]
    transforms = {
        "rotation": Rotation(n_steps=settings["n_rotations"]),
        "scale": Scale(n_steps=settings["n_scales"]),
    }
    pooler = NestedInvariancePooler(backbone, transforms=transforms, image_size=size, on_error="nan")
    return pooler.fit([np.zeros((size, size, 3), np.uint8)])


def read_settings(out):
    """The settings of an index, begun or finished, in a folder; None where it holds none."""
    try:
        settings = json.loads((out / _SETTINGS).read_text())
    except (OSError, ValueError):
        return None
    return settings if isinstance(settings, dict) and settings.keys() >= _NEEDED else None


def _start(out, settings, files, weights):
    """The folder, its settings and its weights; what an earlier run with other settings left is taken away."""
    out.mkdir(parents=True, exist_ok=True)
    before = read_settings(out)
    if before is None and not all(_HALF_WRITTEN.fullmatch(path.name) for path in out.iterdir()):
        raise ValueError(f"{out} holds other files; give a new or empty folder")
    (out / "names.json").unlink(missing_ok=True)
    trained = out / "weights.safetensors"
    kept = trained.exists() and before is not None and before | {"n_bits": 0} == settings | {"n_bits": 0}
    for path in list(out.iterdir()):
        if _HALF_WRITTEN.fullmatch(path.name) or (not kept and _MADE.fullmatch(path.name)):
            path.unlink()
    _write_json(out / _SETTINGS, settings)  # the first: they mark the folder as an index
    if not kept:
        _write_weights(out, settings, files, weights)


def _write_weights(out, settings, files, weights):
    from safetensors.torch import save_file

    from sklinvariant import save
    from sklinvariant.feature_extraction._weights import load_weights
    from sklinvariant.networks import SqueezeNet11Features

    if settings["backbone"] == "squeezenet":
        temporary = out / f"weights.{uuid.uuid4().hex}.tmp"
        save_file(load_weights(SqueezeNet11Features(), weights).state_dict(), temporary)
        os.replace(temporary, out / "weights.safetensors")
    else:
        names = [str(Path(settings["photos"]) / name) for name, _ in files]
        save(learn_backbone(names, settings["image_size"], settings["seed"]), out / "weights.safetensors")


def _features(out, files, pooler, show):
    """(n, d) features, their files, and (file, reason) of what could not be read; chunk by chunk, each written."""
    from tqdm import tqdm

    features, names, skipped = [], [], []
    folder = Path(json.loads((out / _SETTINGS).read_text())["photos"])
    with tqdm(total=len(files), unit="photo", desc="features", disable=not show, file=sys.stderr) as bar:
        for start in range(0, len(files), _CHUNK):
            chunk = files[start : start + _CHUNK]
            path = out / f"features-{start // _CHUNK:06d}.npz"
            content = _stored(path, chunk)
            if content is None:
                values, failed = _read(pooler, [str(folder / name) for name, _ in chunk])
                content = values, {str(Path(file).relative_to(folder)): reason for file, reason in failed}
                _write_chunk(path, chunk, *content)
            values, failed = content
            good = ~np.isnan(values).any(axis=1)
            features.append(values[good])
            names += [name for (name, _), ok in zip(chunk, good, strict=True) if ok]
            skipped += list(failed.items())
            bar.update(len(chunk))
    return np.concatenate(features), names, skipped


def _read(pooler, files):
    """Features, NaN for files that cannot be read, and (file, reason) of those."""
    from sklinvariant.feature_extraction._picture_stream import PictureStream

    stream = PictureStream.of(files, pooler.image_size, pooler.fill, on_error="nan")
    values = pooler.transform(stream)
    return values, [(files[row], reason) for row, reason in stream.failed]


def _stored(path, chunk):
    """A chunk's features and failures, where its file is whole and of these very photographs."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if json.loads(str(file["files"])) == [list(item) for item in chunk]:
                return file["features"], json.loads(str(file["failed"]))
    except (OSError, ValueError, KeyError, EOFError):
        pass  # not there, or cut off: made again
    return None


def _write_chunk(path, chunk, features, failed):
    temporary = path.with_suffix(f".{uuid.uuid4().hex}.tmp.npz")
    np.savez(temporary, features=features, files=json.dumps(chunk), failed=json.dumps(failed))
    os.replace(temporary, path)


def _write_json(path, content):
    temporary = path.with_suffix(f".{uuid.uuid4().hex}.tmp")
    temporary.write_text(json.dumps(content, indent=1))
    os.replace(temporary, path)


def _make_hasher(n_bits, n_features, n, seed):
    """ITQ, which found more on small sets of photographs, where it can give as many bits; else RBM hashing."""
    from sklinvariant.hashing import ITQHasher, RBMHasher

    if n_bits <= min(n_features, n):
        return ITQHasher(n_bits, packed=True, random_state=seed)
    steps = 200_000  # in all, however few the photographs are
    return RBMHasher(n_bits, max_epochs=int(np.clip(steps // n, 20, 400)), packed=True, random_state=seed)
