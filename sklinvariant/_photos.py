"""Pictures of a folder, and networks that see them: pretrained, or learned from the pictures themselves."""

import numpy as np

_MOST_TO_LEARN = 500  # pictures that features are learned from


def list_pictures(folder, but=None):
    """(file below the folder, [bytes, time of change]) of all pictures, sorted; without those in the folder ``but``."""
    from sklinvariant._images import PICTURES

    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    but, files = but and but.resolve(), []
    inside = but is not None and folder in but.parents
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in PICTURES and not (inside and but in file.parents) and file.is_file():
            status = file.stat()
            files.append((str(file.relative_to(folder)), [status.st_size, status.st_mtime_ns]))
    return files


def learn_backbone(files, image_size, seed):
    """Features learned from some of the pictures, where there are no pretrained weights."""
    import torch

    from sklinvariant.aggregation import BagOfWords
    from sklinvariant.feature_extraction import ConvolutionalFeatures
    from sklinvariant.feature_extraction._picture_stream import PictureStream

    chosen = np.random.RandomState(seed).permutation(len(files))[:_MOST_TO_LEARN]
    stream = PictureStream.of([files[i] for i in chosen], image_size, "mean", on_error="nan")
    pictures = [images for _, images in stream.batches(50)]
    if not pictures:
        raise ValueError(f"none of {len(stream)} pictures can be read: {stream.failed[0][1]}")
    features = ConvolutionalFeatures(
        BagOfWords(128), stride=3, pool=3, contrast_eps=0.1, whitening_eps=0.01, random_state=seed
    )
    return features.fit(torch.cat(pictures))


def squeezenet(weights):
    """SqueezeNet 1.1 with the weights of a file."""
    from sklinvariant.feature_extraction import BackbonePatches
    from sklinvariant.networks import SqueezeNet11Features

    mean = np.array([104, 117, 123]) / 255
    return BackbonePatches(SqueezeNet11Features(), weights=weights, bgr=True, mean=mean, std=1 / 255)
