"""Weights of a network that somebody else trained: named by their content, and checked before use.

::

    weights/SHA256            in the object store
    CACHE/weights/SHA256      on each machine that needed them
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from ganlib.errors import ConfigError, DataError, DigestMismatch, ObjectMissing
from ganlib.ports import ObjectStore

INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""SHA-256 of ``weights-inception-2015-12-05-6726825d.pth`` (torch-fidelity) and of
``pt_inception-2015-12-05-6726825d.pth`` (pytorch-fid), which are one file under two names: the weights of
M. Heusel et al. (arXiv:1706.08500), converted to PyTorch."""


def weights_key(sha256: str) -> str:
    """Object key of the weights."""
    return f"weights/{sha256}"


def check_digest(what: str, data: bytes, sha256: str) -> None:
    """Refuse bytes that are not the promised ones.

    Raises:
        DigestMismatch: They are others.
    """
    actual = hashlib.sha256(data).hexdigest()
    if actual != sha256:
        raise DigestMismatch(what, sha256, actual)


def put_weights(store: ObjectStore, what: str, data: bytes, sha256: str) -> None:
    """Put weights into the store, unless they are there.

    Args:
        store: The object store.
        what: The weights' source, for the message.
        data: The file's bytes.
        sha256: The digest that the weights must have.

    Raises:
        DigestMismatch: They are others; nothing was put.
    """
    check_digest(what, data, sha256)
    key = weights_key(sha256)
    if not any(info.key == key and info.size == len(data) for info in store.list(key)):
        store.put(key, data)


def fetch_weights(store: ObjectStore, sha256: str, cache: Path) -> bytes:
    """Weights as they were put: from the cache, or from the store by way of the cache.

    Raises:
        ConfigError: The store has none.
        DigestMismatch: The store's are altered; they were not kept.
        DataError: The cache cannot be written.
    """
    path = cache / "weights" / sha256
    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() == sha256:
            return data
    except FileNotFoundError:
        pass
    try:
        data = store.get(weights_key(sha256))
    except ObjectMissing as error:
        raise ConfigError(
            f"the object store holds no weights {sha256}; set evaluation.weights to the file, as a path "
            "or as s3://BUCKET/KEY"
        ) from error
    check_digest(weights_key(sha256), data, sha256)
    beside = path.with_name(f".{sha256}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as error:
        raise DataError(
            f"the cache {cache} cannot be used: {error.strerror or error}. "
            "Make room there, or set GANLIB_HOME to another folder"
        ) from error
    return data
