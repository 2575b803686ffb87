"""Loading the standard network's weights, with random ones: the real ones cannot be had here."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from pathlib import Path

import pytest
import torch
from torch_fidelity import feature_extractor_inceptionv3 as theirs

from ganlib.errors import ConfigError, DataError, DigestMismatch
from ganlib.fakes.stores import MemoryStore
from ganlib.quality.inception import Inception
from ganlib.quality.inception_weights import INCEPTION_SHA256, fetch_weights, put_weights, weights_key

REAL = os.environ.get("GANLIB_TEST_INCEPTION", "")
"""Path of the standard weights."""


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(theirs.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        torch.manual_seed(0)
        return theirs.FeatureExtractorInceptionV3("random", ["2048"])


@pytest.fixture(scope="module")
def weights(network: torch.nn.Module) -> bytes:
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    return buffer.getvalue()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_features_are_those_of_the_library_s_network(network: torch.nn.Module, weights: bytes) -> None:
    inception = Inception(weights, sha256=digest(weights))
    images = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    found = inception(images)
    with torch.inference_mode():
        [expected] = network(images.expand(-1, 3, -1, -1))
    assert found.shape == (2, inception.dimensions) == (2, 2048)
    assert found.dtype == torch.float32
    assert expected.std() > 0
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match="uint8"):
        inception(images.float())


def test_only_the_standard_weights_make_it_a_fid(weights: bytes) -> None:
    inception = Inception(weights, sha256=digest(weights))
    assert (inception.name, inception.metric) == ("inception", "fd_inception")
    assert inception.weights_sha256 == digest(weights)
    assert "not antialiased" in inception.resizing


class Trap:
    """Function that a harmful pickle calls when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_weights_with_another_digest_are_not_even_read(tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    data = pickle.dumps(Trap(trap))
    with pytest.raises(DigestMismatch, match=f"{digest(data)}.*{INCEPTION_SHA256}"):
        Inception(data)
    assert not trap.exists()


def test_a_pickle_of_the_right_digest_is_still_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    buffer = io.BytesIO()
    torch.save({"fc.weight": Trap(trap)}, buffer)
    with pytest.raises(DataError, match="cannot be loaded"):
        Inception(buffer.getvalue(), sha256=digest(buffer.getvalue()))
    assert not trap.exists()


def test_weights_of_another_network_are_refused() -> None:
    buffer = io.BytesIO()
    torch.save({"fc.weight": torch.zeros(3)}, buffer)
    with pytest.raises(DataError, match="cannot be loaded"):
        Inception(buffer.getvalue(), sha256=digest(buffer.getvalue()))


def test_weights_go_to_the_store_by_content_and_from_there_to_the_cache(tmp_path: Path) -> None:
    store, data = MemoryStore(), b"weights"
    with pytest.raises(ConfigError, match=r"evaluation\.weights"):
        fetch_weights(store, digest(data), tmp_path)
    put_weights(store, "a file", data, digest(data))
    assert store.objects == {f"weights/{digest(data)}": data}
    assert fetch_weights(store, digest(data), tmp_path) == data
    store.delete(weights_key(digest(data)))
    assert fetch_weights(store, digest(data), tmp_path) == data, "from the cache"
    path = tmp_path / "weights" / digest(data)
    assert [entry.name for entry in path.parent.iterdir()] == [digest(data)]
    path.write_bytes(b"altered")
    put_weights(store, "a file", data, digest(data))
    assert fetch_weights(store, digest(data), tmp_path) == data, "a damaged copy is replaced"
    assert path.read_bytes() == data


def test_weights_that_were_altered_in_the_store_are_refused(tmp_path: Path) -> None:
    store = MemoryStore()
    store.put(weights_key(digest(b"weights")), b"others")
    with pytest.raises(DigestMismatch, match=digest(b"others")):
        fetch_weights(store, digest(b"weights"), tmp_path)
    assert not (tmp_path / "weights").exists()


@pytest.mark.skipif(not REAL, reason="GANLIB_TEST_INCEPTION names no file with the standard weights")
def test_the_standard_weights_make_a_fid() -> None:
    inception = Inception(Path(REAL).read_bytes())
    assert inception.metric == "fid"
    assert inception(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)).shape == (1, 2048)
