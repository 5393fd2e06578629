"""Models by name, built with random weights by the real libraries, and errors for those that cannot be loaded."""

import json
import logging
import sys
import warnings

import numpy as np
import pytest
import torch
from tolerance import assert_close
from torch import nn

import sklinvariant
from sklinvariant import BackboneFeatures, BackbonePatches
from sklinvariant.feature_extraction._backbones import _backbone_estimator
from sklinvariant.feature_extraction._backbones._make_backbone import make_backbone


@pytest.fixture
def images():
    return np.random.RandomState(0).randint(0, 256, (2, 30, 40, 3), dtype=np.uint8)


def library(name):
    return pytest.importorskip(name, reason=f"{name} is not installed, or not for this torch", exc_type=Exception)


@pytest.fixture
def without_downloads(monkeypatch):
    """Models with random weights instead of the pretrained ones."""

    def make(module, *, pretrained, **settings):
        return make_backbone(module, pretrained=False, **settings)

    monkeypatch.setattr(_backbone_estimator, "make_backbone", make)


CONFIGS = {
    "dinov2": {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14},
    "dinov2_with_registers": {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    },
    "vit": {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "image_size": 28,
        "patch_size": 14,
    },
    "resnet": {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]},
    "clip": {
        "vision_config": {
            "hidden_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 8,
            "image_size": 28,
            "patch_size": 14,
        },
        "text_config": {
            "hidden_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 8,
            "vocab_size": 10,
        },
    },
}


def hub_model(folder, kind):
    """A folder with a small model as on the Hugging Face hub."""
    transformers = library("transformers")
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **CONFIGS[kind])
    model = transformers.AutoModel.from_config(config).eval()
    model.save_pretrained(folder)
    preset = {
        "image_mean": [0.1, 0.2, 0.3],
        "image_std": [0.5, 0.6, 0.7],
        "size": {"shortest_edge": 32},
        "crop_size": {"height": 28, "width": 28},
        "do_center_crop": True,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preset))
    return f"hf:{folder}", model


def preprocessed(images, size):
    x = torch.as_tensor(images).permute(0, 3, 1, 2) / 255
    x = nn.functional.interpolate(x, (size, size), mode="bilinear", antialias=True)
    return (x - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / torch.tensor([0.5, 0.6, 0.7])[:, None, None]


@pytest.mark.parametrize("kind", CONFIGS)
def test_models_of_transformers(kind, images, tmp_path):
    name, model = hub_model(tmp_path, kind)
    tower = model.vision_model if kind == "clip" else model
    with torch.no_grad():
        outputs = tower(preprocessed(images, 28))
    expected = outputs.last_hidden_state
    cells = expected[:, -4:] if kind != "resnet" else expected.flatten(2).transpose(1, 2)
    assert_close(np.asarray(BackbonePatches(name).fit_transform(images)), cells.numpy())
    whole = outputs.pooler_output.flatten(1) if kind in ("clip", "resnet") else expected[:, 0]
    assert_close(BackboneFeatures(name).fit_transform(images), whole.numpy())


PRESETS = {
    "not normalized": {"do_normalize": False},
    "not rescaled": {"do_rescale": False},
    "another scale": {"rescale_factor": 0.0078},
    "BGR": {"image_processor_type": "MobileViTImageProcessor", "do_flip_channel_order": True, "do_normalize": None},
    "EfficientNet": {"image_processor_type": "EfficientNetImageProcessor", "rescale_offset": True, "include_top": True},
}


@pytest.mark.parametrize("preset", PRESETS)
def test_images_are_preprocessed_as_by_transformers(preset, images, tmp_path):
    transformers = library("transformers")
    name, model = hub_model(tmp_path, "dinov2")
    colors = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]}
    as_they_are = {"do_resize": False, "do_center_crop": False}
    settings = {"image_processor_type": "ViTImageProcessor", **colors, **as_they_are, **PRESETS[preset]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path, use_fast=False)
    images = list(images[:, :28, :28])
    with torch.no_grad():
        expected = model(processor(images, return_tensors="pt")["pixel_values"]).last_hidden_state[:, 0]
    assert_close(BackboneFeatures(name, image_size=None).fit_transform(images), expected.numpy())


def test_models_without_preprocessing_say_so(images, tmp_path, recwarn):
    name, _ = hub_model(tmp_path, "dinov2")
    (tmp_path / "preprocessor_config.json").unlink()
    BackboneFeatures(name, mean=0.5, std=0.5, image_size=28).fit(images)
    assert not recwarn
    with pytest.warns(
        UserWarning, match=r"BackboneFeatures: module='hf:.*' has no preprocessor_config\.json.* Set mean"
    ):
        model = BackboneFeatures(name, mean=0.5, std=0.5).fit(images)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.transform(images)  # warned of once


def test_a_folder_that_is_no_model_of_transformers(images, tmp_path):
    library("transformers")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(
        ValueError, match=r'module="hf:.*" is not a model of transformers .*folder with its config\.json'
    ):
        BackboneFeatures(f"hf:{tmp_path}").fit(images)


@pytest.mark.parametrize("name", ["hf:", "timm:", "torchvision:", "open_clip:"])
def test_prefixes_without_a_name(name, images):
    with pytest.raises(ValueError, match=rf'module=\'{name}\' names no model.*such as "timm:resnet18"'):
        BackboneFeatures(name).fit(images)


def test_a_fitted_model_of_transformers_needs_no_files(images, tmp_path):
    name, _ = hub_model(tmp_path / "model", "dinov2")
    model = BackboneFeatures(name).fit(images)
    expected = model.transform(images)
    sklinvariant.save(model, tmp_path / "saved")
    for file in (tmp_path / "model").iterdir():
        file.unlink()
    assert_close(sklinvariant.load(tmp_path / "saved").transform(images), expected)


def test_larger_images_have_more_patches(images, tmp_path):
    name, _ = hub_model(tmp_path, "dinov2")
    assert BackbonePatches(name, image_size=(42, 56)).fit_transform(images).shape == (2, 12, 8)


def test_weights_of_a_file_and_the_architecture_of_a_name(images, tmp_path):
    name, _ = hub_model(tmp_path, "clip")
    expected = BackboneFeatures(name).fit_transform(images)
    (tmp_path / "model.safetensors").rename(tmp_path / "weights.safetensors")
    with pytest.raises(OSError, match=r"could not be loaded .* download config\.json, preprocessor_config\.json and"):
        BackboneFeatures(name).fit(images)
    model = BackboneFeatures(name, weights=tmp_path / "weights.safetensors")
    assert_close(model.fit_transform(images), expected)


def test_a_layer_of_a_named_model(images, tmp_path):
    name, model = hub_model(tmp_path, "dinov2")
    with torch.no_grad():
        expected = model.embeddings(preprocessed(images, 28))
    assert_close(BackboneFeatures(name, layer="embeddings").fit_transform(images), expected[:, 0].numpy())
    assert_close(BackbonePatches(name, layer="embeddings").fit_transform(images).values, expected[:, 1:].reshape(8, 8))


NAMES = {
    "timm:vit_tiny_patch16_224": ("timm", 196, 192),
    "timm:resnet18": ("timm", 49, 512),
    "torchvision:resnet18": ("torchvision", 49, 512),
    "torchvision:mobilenet_v3_small": ("torchvision", 49, 1024),
    "torchvision:squeezenet1_1": ("torchvision", 169, 512),
    "open_clip:ViT-B-32": ("open_clip", 49, 512),
    "resnet18": ("torchvision", 49, 512),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_names(name, images, without_downloads, caplog):
    package, n_cells, width = NAMES[name]
    library(package)
    with caplog.at_level(logging.ERROR):
        patches = BackbonePatches(name).fit(images[:1])
        rows = BackboneFeatures(name).fit_transform(images[:1])
    assert patches.transform(images[:1]).shape[1] == n_cells
    assert rows.shape == (1, width)
    preprocessing = patches._state["preprocessing"]
    assert preprocessing["image_size"] == (224, 224)
    assert len(preprocessing["mean"]) == 3
    assert max(preprocessing["std"]) < 1


def test_class_token_of_timm(images, without_downloads):
    timm = library("timm")
    rows = BackboneFeatures("timm:vit_tiny_patch16_224", image_size=32).fit(images)
    network = timm.create_model("vit_tiny_patch16_224", img_size=32).eval()
    network.load_state_dict({name: torch.tensor(value) for name, value in rows._state["weights"].items()})
    x = (torch.as_tensor(images).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    x = nn.functional.interpolate(x, (32, 32), mode="bilinear", antialias=True)
    with torch.no_grad():
        expected = network.forward_features(x)
    assert_close(rows.transform(images), expected[:, 0].numpy())


@pytest.mark.parametrize("name", ["timm:no_such", "torchvision:no_such", "open_clip:no_such"])
def test_unknown_names(name, images):
    library(name.partition(":")[0])
    with pytest.raises(ValueError, match=rf'module="{name}" is not a model of .* such as \['):
        BackbonePatches(name).fit(images)


@pytest.mark.parametrize("name", ["timm", "torchvision", "open_clip", "transformers"])
def test_missing_libraries_are_named(name, images, monkeypatch):
    for module in (name, f"{name}.models"):
        monkeypatch.setitem(sys.modules, module, None)
    prefix = "hf" if name == "transformers" else name
    message = rf'module=.{prefix}:model. requires {name}, .*pip install "sklinvariant\[{name}\]"'
    with pytest.raises(ImportError, match=message):
        BackbonePatches(f"{prefix}:model").fit(images)


def test_unknown_prefixes(images):
    with pytest.raises(ValueError, match=r"module='keras:vgg' begins with an unknown library.*timm:.*\.onnx"):
        BackbonePatches("keras:vgg").fit(images)


def test_models_that_cannot_be_downloaded_name_the_file(images, monkeypatch):
    transformers = library("transformers")

    def fail(name, **options):
        raise OSError(f"We couldn't connect to load {name}")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", fail)
    with pytest.raises(OSError, match=r'module="hf:a/b" could not be loaded \(We .*huggingface\.co/a/b .*"hf:FOLDER"'):
        BackbonePatches("hf:a/b").fit(images)


SOURCES = {
    "timm:resnet18": ("timm", "create_model", r"model\.safetensors of https://huggingface\.co/timm/resnet18"),
    "torchvision:resnet18": ("torchvision.models", "get_model", r"https://download\.pytorch\.org/models/resnet18"),
    "open_clip:ViT-B-32": (
        "open_clip",
        "create_model",
        r"open_clip_model\.safetensors of https://huggingface\.co/timm/",
    ),
}


@pytest.mark.parametrize("name", SOURCES)
def test_weights_that_cannot_be_downloaded_are_named(name, images, monkeypatch):
    module, function, source = SOURCES[name]

    def fail(*args, **options):
        raise OSError("no network")

    monkeypatch.setattr(library(module), function, fail)
    with pytest.raises(OSError, match=rf"{name}. could not be loaded \(no network\).* {source}.* as weights"):
        BackbonePatches(name).fit(images)


@pytest.mark.parametrize("name", ["net.safetensors", "NET.NPZ"])
def test_a_file_of_weights_is_no_network(name, images, tmp_path):
    path = tmp_path / name
    with pytest.raises(FileNotFoundError, match=r"does not exist. Pass a torch.nn.Module, .* as weights"):
        BackboneFeatures(path).fit(images)
    path.touch()
    with pytest.raises(ValueError, match=r"holds weights without a network. Pass a torch.nn.Module, .* as weights"):
        BackboneFeatures(str(path)).fit(images)
