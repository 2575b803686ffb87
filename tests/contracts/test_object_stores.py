from __future__ import annotations

import os
import threading
import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr

from ganlib.errors import ConfigError, DataError, ObjectMissing, ServiceError
from ganlib.ports import ObjectStore
from ganlib.settings import Settings
from ganlib.storage import S3Store, open_prefix, open_store

SECRET = "a-secret-that-must-not-be-seen"


def test_bytes_that_were_put_are_returned(store: ObjectStore) -> None:
    store.put("a/b.bin", b"\x00\xff some bytes")
    assert store.get("a/b.bin") == b"\x00\xff some bytes"


def test_empty_objects_are_objects(store: ObjectStore) -> None:
    store.put("empty", b"")
    assert store.get("empty") == b""
    assert [(o.key, o.size) for o in store.list("")] == [("empty", 0)]


def test_putting_again_replaces_and_changes_the_etag(store: ObjectStore) -> None:
    store.put("key", b"one")
    (before,) = store.list("key")
    store.put("key", b"two")
    (after,) = store.list("key")
    assert store.get("key") == b"two"
    assert before.etag != after.etag


def test_a_read_during_a_replacement_returns_one_of_the_two_whole(store: ObjectStore) -> None:
    versions = [bytes([65 + number % 26]) * (1000 + 3000 * (number % 7)) for number in range(100)]
    store.put("state", versions[0])
    writer = threading.Thread(target=lambda: [store.put("state", data) for data in versions])
    writer.start()
    while writer.is_alive():
        assert store.get("state") in versions
    writer.join()
    assert store.get("state") == versions[-1]


def test_a_large_file_goes_up_and_down_unchanged(store: ObjectStore, tmp_path: Path) -> None:
    data = os.urandom(40 * 2**20 + 17)  # several parts and a rest
    source, target = tmp_path / "source", tmp_path / "new" / "folder" / "target"
    source.write_bytes(data)
    store.put("large", source)
    store.download("large", target)
    assert target.read_bytes() == data
    assert [o.size for o in store.list("large")] == [len(data)]
    assert [p.name for p in target.parent.iterdir()] == ["target"]


@pytest.mark.parametrize("size", [0, 1000, 40 * 2**20 + 17])
def test_a_copy_has_the_same_bytes(store: ObjectStore, size: int) -> None:
    data = os.urandom(size)
    store.put("one", data)
    (one,) = store.list("one")
    store.copy("copies/two", store, one)
    assert store.get("copies/two") == data


def test_what_is_gone_or_replaced_is_not_copied(store: ObjectStore) -> None:
    store.put("one", b"first")
    (one,) = store.list("one")
    store.put("one", b"other")
    with pytest.raises(DataError, match="was replaced since it was listed"):
        store.copy("two", store, one)
    store.delete("one")
    with pytest.raises(ObjectMissing):
        store.copy("two", store, one)
    assert [info.key for info in store.list("")] == []


def test_download_replaces_the_file(store: ObjectStore, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"old and longer")
    store.put("key", b"new")
    store.download("key", target)
    assert target.read_bytes() == b"new"


def test_a_missing_object_says_so_and_leaves_the_file_alone(store: ObjectStore, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"old")
    with pytest.raises(ObjectMissing, match="nothing/here"):
        store.get("nothing/here")
    with pytest.raises(ObjectMissing, match="nothing/here"):
        store.download("nothing/here", target)
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


def test_listing_is_by_prefix(store: ObjectStore) -> None:
    keys = ["p/a-b", "p/a.c", "p/a/B", "p/a/b", "p/aa", "p/é", "q/a"]
    for key in reversed(keys):
        store.put(key, key.encode())
    assert sorted(o.key for o in store.list("p/")) == keys[:-1]
    assert sorted(o.key for o in store.list("p/a")) == keys[:5]
    assert sorted(o.key for o in store.list("p/a/")) == ["p/a/B", "p/a/b"]
    assert list(store.list("p/none")) == []
    assert sorted(o.key for o in store.list("")) == keys


def test_threads_may_share_a_store(store: ObjectStore) -> None:
    keys = [f"many/{n:02}" for n in range(40)]
    wrong: list[str] = []

    def put_and_get(part: list[str]) -> None:
        for key in part:
            store.put(key, key.encode())
            if store.get(key) != key.encode():
                wrong.append(key)

    threads = [threading.Thread(target=put_and_get, args=(keys[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert [o.key for o in store.list("many/")] == keys


def test_a_part_of_an_object_is_read(store: ObjectStore) -> None:
    store.put("key", bytes(range(100)))
    (info,) = store.list("key")
    assert store.get_range("key", 0, 1) == b"\x00"
    assert store.get_range("key", 10, 5, etag=info.etag) == bytes(range(10, 15))
    assert store.get_range("key", 95, 1000) == bytes(range(95, 100)), "no more than there is"
    with pytest.raises(DataError, match="ends before byte 100"):
        store.get_range("key", 100, 1)
    with pytest.raises(ObjectMissing, match="nothing/here"):
        store.get_range("nothing/here", 0, 1)
    store.put("key", bytes(50))
    with pytest.raises(DataError, match="it was replaced since it was listed"):
        store.get_range("key", 0, 1, etag=info.etag)


def test_a_part_of_an_object_comes_in_pieces(store: ObjectStore) -> None:
    data = os.urandom(3 * 2**20)
    store.put("key", data)
    assert b"".join(store.stream("key", 0, len(data))) == data
    assert b"".join(store.stream("key", 10, 5)) == data[10:15]
    assert b"".join(store.stream("key", len(data) - 5, 1000)) == data[-5:], "no more than there is"
    with pytest.raises(DataError, match=f"ends before byte {len(data):,}"):
        next(store.stream("key", len(data), 1))
    with pytest.raises(ObjectMissing, match="nothing/here"):
        next(store.stream("nothing/here", 0, 1))
    pieces = store.stream("key", 0, len(data))
    first = next(pieces)
    pieces.close()
    assert first == data[: len(first)]
    assert store.get_range("key", 0, 3) == data[:3], "after an answer of which the rest was not wanted"


def test_deleting_removes_and_may_be_repeated(store: ObjectStore) -> None:
    store.put("x/y", b"1")
    store.delete("x/y")
    store.delete("x/y")
    assert list(store.list("")) == []
    with pytest.raises(ObjectMissing):
        store.get("x/y")


# The rest is about S3 alone.


def s3_at(url: str | None, tmp_path: Path, **fields: object) -> Settings:
    values = {"s3_access_key_id": "someone", "s3_secret_access_key": SecretStr(SECRET), **fields}
    return Settings.model_validate({"home": tmp_path, "s3_endpoint_url": url, **values})


def seen_by_a_person(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error)


def test_a_service_that_is_down_is_reported_in_time(closed_port: str, tmp_path: Path, in_time) -> None:
    settings = s3_at(closed_port, tmp_path)
    (tmp_path / "file").write_bytes(b"x" * 100)
    calls = [
        lambda: open_store(settings),
        lambda: open_prefix(settings, "s3://some-bucket/folder"),
        lambda: S3Store(settings).get("key"),
        lambda: S3Store(settings).put("key", b"x"),
        lambda: S3Store(settings).put("key", tmp_path / "file"),
        lambda: S3Store(settings).download("key", tmp_path / "new"),
        lambda: list(S3Store(settings).list("")),
        lambda: S3Store(settings).delete("key"),
    ]
    for call in calls:
        with in_time(), pytest.raises(ServiceError, match="GANLIB_S3_ENDPOINT_URL") as caught:
            call()
        assert closed_port in str(caught.value)
        assert caught.value.service == "s3"
        assert SECRET not in seen_by_a_person(caught.value)


def test_a_service_that_does_not_answer_is_reported_in_time(
    frozen_port: str, tmp_path: Path, in_time
) -> None:
    with in_time(), pytest.raises(ServiceError, match="GANLIB_S3_ENDPOINT_URL"):
        open_store(s3_at(frozen_port, tmp_path))


def test_an_address_that_is_no_url_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="GANLIB_S3_ENDPOINT_URL"):
        open_store(s3_at("localhost:9000", tmp_path))
    with pytest.raises(ConfigError, match="GANLIB_S3_ENDPOINT_URL"):
        open_store(s3_at(None, tmp_path))


def test_half_of_the_credentials_is_refused(closed_port: str, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="GANLIB_S3_ACCESS_KEY_ID and GANLIB_S3_SECRET_ACCESS_KEY"
    ) as caught:
        open_store(s3_at(closed_port, tmp_path, s3_access_key_id=None))
    assert SECRET not in seen_by_a_person(caught.value)


def test_no_secret_in_what_is_printed(closed_port: str, tmp_path: Path) -> None:
    settings = s3_at(closed_port, tmp_path)
    store = S3Store(settings)
    assert SECRET not in f"{store!r} {store} {settings!r} {settings}"
    assert SECRET not in repr(vars(store))


@pytest.mark.parametrize("uri", ["", "bucket/folder", "s3://", "s3://x/folder", "https://bucket/folder"])
def test_other_addresses_than_s3_are_refused(uri: str, closed_port: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="s3://BUCKET/PREFIX"):
        open_prefix(s3_at(closed_port, tmp_path), uri)


@pytest.mark.services
@pytest.mark.parametrize(
    "wrong", [{"s3_secret_access_key": SecretStr(SECRET)}, {"s3_access_key_id": "somebody-else"}]
)
def test_wrong_credentials_are_named_in_time(
    wrong: dict[str, object], settings: Settings, tmp_path: Path, in_time
) -> None:
    changed = settings.model_copy(update=wrong)
    for call in (
        lambda: open_store(changed),
        lambda: S3Store(changed).get("key"),
        lambda: S3Store(changed).put("key", b"x"),
        lambda: S3Store(changed).download("key", tmp_path / "new"),
    ):
        with in_time(), pytest.raises(ServiceError, match="GANLIB_S3_ACCESS_KEY_ID") as caught:
            call()
        text = seen_by_a_person(caught.value)
        assert "GANLIB_S3_SECRET_ACCESS_KEY" in str(caught.value)
        assert SECRET not in text
        assert settings.s3_secret_access_key is not None
        assert settings.s3_secret_access_key.get_secret_value() not in text


@pytest.mark.services
def test_missing_credentials_are_named(
    settings: Settings, tmp_path: Path, in_time, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    without = settings.model_copy(update={"s3_access_key_id": None, "s3_secret_access_key": None})
    with in_time(), pytest.raises(ServiceError, match="GANLIB_S3_ACCESS_KEY_ID"):
        open_store(without)


@pytest.mark.services
def test_something_that_is_not_s3_is_called_so(settings: Settings, in_time) -> None:
    elsewhere = settings.model_copy(update={"s3_endpoint_url": settings.require("mlflow")})
    for call in (
        lambda: open_store(elsewhere),
        lambda: S3Store(elsewhere).get("key"),
        lambda: S3Store(elsewhere).put("key", b"x"),
    ):
        with in_time(), pytest.raises(ServiceError, match="GANLIB_S3_ENDPOINT_URL"):
            call()


@pytest.mark.services
def test_a_missing_bucket_is_created_only_by_opening_the_store(settings: Settings, name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        open_prefix(settings, f"s3://{name}/folder")
    with pytest.raises(ServiceError, match="GANLIB_S3_BUCKET"):
        S3Store(settings, bucket=name).get("key")
    changed = settings.model_copy(update={"s3_bucket": name})
    open_store(changed).put("folder/key", b"x")
    assert open_store(changed).get("folder/key") == b"x"
    assert [o.key for o in open_prefix(settings, f"s3://{name}/folder/").list("")] == ["key"]


@pytest.mark.services
def test_a_listing_does_not_end_at_a_page(settings: Settings, name: str) -> None:
    open_store(settings)
    store = S3Store(settings, prefix=f"{name}/", page=3)
    keys = [f"{n:02}" for n in range(8)]
    for key in keys:
        store.put(key, b"x")
    assert [o.key for o in store.list("")] == keys
    assert [o.key for o in store.list("0")] == keys
    for key in keys:
        store.delete(key)


@pytest.mark.services
def test_every_call_names_the_bucket_that_is_missing(settings: Settings, name: str, tmp_path: Path) -> None:
    store = S3Store(settings, bucket=name)
    (tmp_path / "file").write_bytes(b"x" * 100)
    for call in (
        lambda: store.put("key", b"x"),
        lambda: store.put("key", tmp_path / "file"),
        lambda: store.get("key"),
        lambda: list(store.list("")),
        lambda: store.delete("key"),
    ):
        with pytest.raises(ServiceError, match="GANLIB_S3_BUCKET") as caught:
            call()
        assert name in str(caught.value)
