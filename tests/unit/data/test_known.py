from __future__ import annotations

import contextlib
import dataclasses
import functools
import http.server
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ganlib.data.formats.idx import IDX_NAMES, open_idx
from ganlib.data.raw.known import DEBIAN_FOLDER, KNOWN, KnownDataset, Places, find_known
from ganlib.errors import DigestMismatch, SourceUnavailable

FASHION = Path(os.environ.get("GANLIB_TEST_FASHION_MNIST", DEBIAN_FOLDER))
NOWHERE = Places(debian_folder=Path("/nonexistent"), mirrors=(), apt_get="/nonexistent/apt-get")


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A folder with the digits' four files."""
    folder = tmp_path / "digits"
    folder.mkdir()
    find_known(KNOWN["digits"], folder)
    return folder


@pytest.fixture
def small() -> KnownDataset:
    """Looked for where Fashion-MNIST is, with the digits' content."""
    return dataclasses.replace(KNOWN["fashion-mnist"], name="small", contents=KNOWN["digits"].contents)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_digits_are_real_and_split_by_rule(scratch: Path) -> None:
    from sklearn.datasets import load_digits

    found = find_known(KNOWN["digits"], scratch)
    assert "scikit-learn" in found.source
    arrays = []
    for name in IDX_NAMES:
        with open_idx(found.files[name].path, 3 if "images" in name else 1) as reader:
            arrays.append(reader.all())
    train, train_labels, held_out, held_out_labels = arrays
    assert (len(train), len(held_out)) == (1198, 599)
    original = load_digits()
    np.testing.assert_array_equal(held_out_labels, original.target[2::3])
    np.testing.assert_array_equal(train[:2], np.rint(original.images[:2] * 255 / 16))
    np.testing.assert_array_equal(train_labels[:4], original.target[[0, 1, 3, 4]])
    assert train.max() == held_out.max() == 255


def test_debian_folder_comes_first(small: KnownDataset, digits: Path, scratch: Path) -> None:
    found = find_known(small, scratch, dataclasses.replace(NOWHERE, debian_folder=digits))
    assert found.source == str(digits)
    assert {file.path.parent for file in found.files.values()} == {digits}


def test_an_altered_debian_file_is_refused(small: KnownDataset, digits: Path, scratch: Path) -> None:
    path = digits / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DigestMismatch, match="t10k-labels"):
        find_known(small, scratch, dataclasses.replace(NOWHERE, debian_folder=digits))


def test_a_mirror_is_downloaded_and_checked(small: KnownDataset, digits: Path, scratch: Path) -> None:
    with served(digits) as mirror:
        found = find_known(small, scratch, dataclasses.replace(NOWHERE, mirrors=(mirror,)))
    assert mirror in found.source
    for name in IDX_NAMES:
        assert found.files[name].path.read_bytes() == (digits / f"{name}.gz").read_bytes()


def test_a_mirror_with_other_content_is_passed_over(small: KnownDataset, digits: Path, scratch: Path) -> None:
    good = digits.rename(digits.with_name("good"))
    bad = digits.with_name("bad")
    bad.mkdir()
    for name in IDX_NAMES:
        (bad / f"{name}.gz").write_bytes(b"<html>please log in</html>")
    with served(bad) as first, served(good) as second:
        found = find_known(small, scratch, dataclasses.replace(NOWHERE, mirrors=(first, second)))
        assert second in found.source
        with pytest.raises(SourceUnavailable, match="damaged or altered"):
            find_known(small, scratch / "again", dataclasses.replace(NOWHERE, mirrors=(first,)))


def test_a_mirror_without_the_files_says_so(small: KnownDataset, scratch: Path, tmp_path: Path) -> None:
    with served(tmp_path / "empty") as mirror, pytest.raises(SourceUnavailable, match="HTTP 404"):
        find_known(small, scratch, dataclasses.replace(NOWHERE, mirrors=(mirror,)))


def test_a_silent_mirror_is_given_up_in_time(small: KnownDataset, scratch: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mirror = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        places = dataclasses.replace(NOWHERE, mirrors=(mirror,), connect_seconds=0.3)
        with pytest.raises(SourceUnavailable, match=r"no answer within 0\.3 s|timed out"):
            find_known(small, scratch, places)


def test_apt_is_the_last_resort(small: KnownDataset, digits: Path, scratch: Path, tmp_path: Path) -> None:
    apt_get = program(tmp_path / "apt-get", "touch dataset-fashion-mnist_1_all.deb")
    target = '"$3/usr/share/datasets/fashion-mnist"'
    dpkg = program(tmp_path / "dpkg", f'[ "$1" = -x ] && mkdir -p {target} && cp {digits}/* {target}')
    found = find_known(small, scratch, dataclasses.replace(NOWHERE, apt_get=apt_get, dpkg=dpkg))
    assert "dataset-fashion-mnist" in found.source
    assert all(scratch in file.path.parents for file in found.files.values())


def test_apt_without_lists_fetches_them_privately(
    small: KnownDataset, digits: Path, scratch: Path, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    apt_get = program(
        tmp_path / "apt-get",
        f"""echo "$@" >> {calls}
case "$*" in
  *Dir::State::lists=*update*) ;;
  *Dir::State::lists=*download*) touch dataset-fashion-mnist_1_all.deb ;;
  *) echo "E: Unable to locate package dataset-fashion-mnist" >&2; exit 100 ;;
esac""",
    )
    target = '"$3/usr/share/datasets/fashion-mnist"'
    dpkg = program(tmp_path / "dpkg", f"mkdir -p {target} && cp {digits}/* {target}")
    find_known(small, scratch, dataclasses.replace(NOWHERE, apt_get=apt_get, dpkg=dpkg))
    first, update, again = calls.read_text().splitlines()
    assert "Dir::State::lists" not in first
    for line in (update, again):
        assert f"Dir::State::lists={scratch}" in line
        assert f"Dir::Cache={scratch}" in line


def test_everything_that_was_tried_is_told(scratch: Path, tmp_path: Path) -> None:
    apt_get = program(tmp_path / "apt-get", 'echo "E: Failed to fetch it" >&2; exit 100')
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = taken.getsockname()[1]
    mirror = f"http://127.0.0.1:{closed}/"
    places = dataclasses.replace(NOWHERE, mirrors=(mirror,), apt_get=apt_get)
    with pytest.raises(SourceUnavailable) as caught:
        find_known(KNOWN["fashion-mnist"], scratch, places)
    debian, torchvision, apt = caught.value.tried
    assert debian == "/nonexistent: is not there"
    assert mirror in torchvision
    assert "refused" in torchvision
    assert apt == "apt-get download dataset-fashion-mnist: exit code 100: E: Failed to fetch it"


def test_a_machine_without_apt_says_so(scratch: Path) -> None:
    with pytest.raises(SourceUnavailable, match="apt-get is not installed"):
        find_known(KNOWN["fashion-mnist"], scratch, NOWHERE)


def test_a_slow_apt_is_ended(scratch: Path, tmp_path: Path) -> None:
    apt_get = program(tmp_path / "apt-get", "exec sleep 60")
    places = dataclasses.replace(NOWHERE, apt_get=apt_get, download_seconds=0.3)
    with pytest.raises(SourceUnavailable, match=r"not finished after 0\.3 s"):
        find_known(KNOWN["fashion-mnist"], scratch, places)


@pytest.mark.skipif(not FASHION.is_dir(), reason=f"{FASHION} is not there (Debian's dataset-fashion-mnist)")
def test_the_real_fashion_mnist_has_the_known_digests(scratch: Path) -> None:
    found = find_known(KNOWN["fashion-mnist"], scratch, dataclasses.replace(NOWHERE, debian_folder=FASHION))
    assert found.source == str(FASHION)


def test_torchvision_names_the_same_classes() -> None:
    from torchvision.datasets import FashionMNIST

    assert list(KNOWN["fashion-mnist"].classes) == FashionMNIST.classes
