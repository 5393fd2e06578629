"""Options that commands share: --json, --quiet, --device and progress bars."""

import argparse
import json
import sys

import pytest
from photographs import write_images

from sklinvariant.cli import _photos as _photos
from sklinvariant.cli._command_line import main, make_parser
from sklinvariant.cli._options import shows_progress

_COMPUTING = ("tour", "aggregation", "retrieve", "pool", "cluster", "index", "query")
_QUICK = ["--image-size", "32", "--clusters", "2"]


def _parsers():
    return next(action.choices for action in make_parser()._actions if isinstance(action.choices, dict))


@pytest.mark.parametrize("option", ["--json", "--quiet", "--device", "--output"])
def test_every_command_that_computes_has_the_option(option):
    for name in _COMPUTING:
        assert option in _parsers()[name]._option_string_actions, name


_SHARED = (
    "--json",
    "--quiet",
    "--device",
    "--seed",
    "--force",
    "--data",
    "--weights",
    "--image-size",
    "--follow-links",
)


@pytest.mark.parametrize("option", _SHARED)
def test_an_option_means_the_same_in_every_command(option):
    actions = [parser._option_string_actions.get(option) for parser in _parsers().values()]
    settings = {(action.default, action.type, action.help) for action in actions if action}
    assert len(settings) == 1


@pytest.mark.parametrize("seed", ["-1", "4294967296"])
def test_seeds_out_of_range(seed, capsys):
    assert main(["cluster", "nowhere", "--seed", seed]) == 2
    assert capsys.readouterr().err == f"sklinvariant: --seed must be from 0 to 4294967295, got {seed}\n"


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.setattr(_photos, "_N_WORDS", 8)
    write_images(tmp_path / "photos", 6)
    (tmp_path / "photos" / "bad.png").write_bytes(b"bad")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


_INDEX = ["index", "photos", "--output", "o", "--bits", "2", "--image-size", "32", "--rotations", "2", "--scales", "1"]


def test_json_is_one_document_on_standard_output(photos, capsys):
    pytest.importorskip("faiss", reason="faiss is not installed")
    assert main([*_INDEX, "--json"]) == 0
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    ((skipped,), count) = document.pop("skipped"), document.pop("photographs")
    assert (skipped["file"], count) == ("bad.png", 6)
    assert "cannot be read" in skipped["reason"]
    assert document == {"command": "index", "index": "o", "bits": 2}
    assert "6 photographs indexed" in printed.err  # what people read moves to standard error
    assert main(["query", "o", "photos/3.png", "photos/bad.png", "--neighbors", "6", "--json", "--quiet"]) == 0
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    (query,) = document["queries"]
    assert query["image"] == "photos/3.png"
    assert {row["file"]: row["distance"] for row in query["neighbors"]}[str(photos / "3.png")] == 0
    assert [row["file"] for row in document["failed"]] == ["photos/bad.png"]
    assert (document["bits"], document["changed"], document["page"]) == (2, [], None)
    assert "bits" not in printed.err


def test_json_of_the_clusters(photos, capsys):
    assert main(["cluster", "photos", *_QUICK, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["command"], document["page"], document["table"]) == ("cluster", "clusters.html", "clusters.csv")
    files = [photo["file"] for cluster in document["clusters"] for photo in cluster["photographs"]]
    assert sorted(files) == [f"{i}.png" for i in range(6)]
    for cluster in document["clusters"]:
        sure = [photo["certainty"] for photo in cluster["photographs"]]
        assert sure == sorted(sure, reverse=True)
        assert all(0 < certainty < 1 for certainty in sure)
        assert cluster["mixed"] == bool(sure and cluster["certainty"] < 0.5)
    assert [row["file"] for row in document["skipped"]] == ["bad.png"]


@pytest.mark.parametrize(
    ("words", "row"),
    [
        (["tour", "--only", "hashing"], {"family", "estimator", "score", "baseline", "baseline_score", "seconds"}),
        (["retrieve", "--max-images", "20"], {"descriptor", "features", "exact", "codes", "seconds"}),
        pytest.param(
            ["pool", "--pairs", "200", "--clusters", "5"],
            {"invariance", "score", "rebuilt", "seconds"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["aggregation", "--max-images", "60"],
            {"method", "size", "features", "validation", "accuracy", "fit", "transform", "best"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_json_of_the_demonstrations(words, row, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--json", "--quiet"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["command"] == words[0]
    assert document["figure"] in [path.name for path in tmp_path.iterdir()]
    assert document["rows"]
    assert all(row <= set(one) for one in document["rows"])


def test_an_error_prints_no_document(capsys):
    assert main(["cluster", "nowhere", "--json"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "there is no folder" in printed.err


def test_quiet_prints_errors_alone(photos, capsys):
    assert main(["cluster", "photos", *_QUICK, "--quiet"]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "bad.png" in printed.err
    assert main(["cluster", "nowhere", "--quiet"]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_the_device_is_checked_before_any_work(capsys):
    for device, problem in (("banana", "not the name of a device"), ("cuda:99", "not available on this machine")):
        assert main(["cluster", "nowhere", "--device", device]) == 2
        assert f"device='{device}' is {problem}" in capsys.readouterr().err


def test_the_device_reaches_every_estimator(photos, tmp_path, monkeypatch):
    """Every estimator of a command is created for the device, not for the default one."""
    from sklinvariant.base import _input

    resolved, resolve = [], _input.resolve_device

    def record(device, own=None):
        resolved.append((str(device), own))
        return resolve(device, own)

    monkeypatch.setattr(_input, "resolve_device", record)
    for words in (
        ["cluster", "photos", *_QUICK],
        ["tour", "--only", "hashing", "nested"],
        ["retrieve", "--max-images", "20"],
    ):
        del resolved[:]
        assert main([*words, "--device", "cpu", "--quiet"]) == 0
        assert ("cpu", None) in resolved
        assert ("auto", None) not in resolved


def test_an_index_does_not_depend_on_the_device(photos, tmp_path):
    """An index that was made on a GPU can be used on another machine: its files name no device."""
    pytest.importorskip("faiss", reason="faiss is not installed")
    assert main(_INDEX) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir() if path.suffix == ".safetensors"}
    assert main([*_INDEX[:3], "other", *_INDEX[4:], "--device", "cpu"]) == 0
    assert {name: (tmp_path / "other" / name).read_bytes() for name in before} == before


class _Terminal:
    def __init__(self, stream, is_terminal):
        self.stream, self.is_terminal = stream, is_terminal

    def isatty(self):
        return self.is_terminal

    def __getattr__(self, name):
        return getattr(self.stream, name)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_bars_appear_on_a_terminal_alone(is_terminal, photos, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", _Terminal(sys.stderr, is_terminal))
    assert main(["cluster", "photos", *_QUICK]) == 0
    assert ("epoch/s" in capsys.readouterr().err) == is_terminal
    assert shows_progress(argparse.Namespace(quiet=False)) == is_terminal
    assert not shows_progress(argparse.Namespace(quiet=True))
