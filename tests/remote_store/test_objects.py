"""Objects of any fsspec store: whole or absent, kept by content, and errors that say what to do and nothing secret."""

import hashlib
import pickle
from pathlib import Path

import pytest
from machines import SECRET
from s3_endpoint import S3Endpoint

from gristmill.objects import DamagedObject, Objects, StoreUnavailable, file_object


def kept(objects: Objects, folder: Path, content: bytes = b"flour") -> str:
    folder.mkdir(exist_ok=True)
    (folder / "sack").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    objects.keep(folder / "sack", sha256)
    return sha256


def test_what_is_written_is_read_listed_and_deleted(objects: Objects):
    assert objects.read("a/record.json") is None
    assert objects.size("a/record.json") is None
    assert objects.listing() == {}
    objects.write("a/record.json", b"first")
    objects.write("a/record.json", b"second")
    objects.write("b/record.json", b"3")
    assert objects.read("a/record.json") == b"second"
    assert {name: facts.size for name, facts in objects.listing().items()} == {"a/record.json": 6, "b/record.json": 1}
    assert set(objects.listing("b")) == {"b/record.json"}
    objects.delete(["a/record.json", "of another"])
    assert set(objects.listing()) == {"b/record.json"}


def test_an_object_is_created_once(objects: Objects):
    assert objects.create("a/record.json", b"first")
    assert not objects.create("a/record.json", b"second")
    assert objects.read("a/record.json") == b"first"
    assert set(objects.listing()) == {"a/record.json"}


def test_a_file_is_kept_under_its_content_and_comes_back(objects: Objects, tmp_path: Path):
    sha256 = kept(objects, tmp_path / "mill", b"flour" * 1000)
    objects.fetch(sha256, tmp_path / "shop" / "sack")
    assert (tmp_path / "shop" / "sack").read_bytes() == b"flour" * 1000
    assert objects.digest(file_object(sha256)) == sha256
    assert set(objects.listing()) == {file_object(sha256)}


def test_a_file_that_is_not_what_its_name_says_never_arrives(objects: Objects, tmp_path: Path):
    sha256 = kept(objects, tmp_path / "mill")
    objects.write(file_object(sha256), b"Flour")
    with pytest.raises(DamagedObject, match="does not have the sha256"):
        objects.fetch(sha256, tmp_path / "shop" / "sack")
    with pytest.raises(FileNotFoundError):
        objects.fetch("0" * 64, tmp_path / "shop" / "sack")
    assert list((tmp_path / "shop").iterdir()) == []


def test_a_file_that_is_there_is_not_sent_again_unless_asked(s3: S3Endpoint, tmp_path: Path):
    objects = Objects(s3.url("sent-once"))
    sha256 = kept(objects, tmp_path / "mill")
    kept(objects, tmp_path / "mill")
    assert len(s3.asked("PUT")) == 1
    objects.write(file_object(sha256), b"half")  # another size
    kept(objects, tmp_path / "mill")
    assert objects.digest(file_object(sha256)) == sha256
    objects.write(file_object(sha256), b"Flour")
    objects.keep(tmp_path / "mill" / "sack", sha256, anew=True)
    assert objects.digest(file_object(sha256)) == sha256


def test_each_third_request_may_fail_with_503(s3: S3Endpoint, tmp_path: Path):
    objects = Objects(s3.url("flaky"))
    s3.fault = lambda number, method, name: 503 if number % 3 == 0 else None
    sacks = [kept(objects, tmp_path / str(number), str(number).encode()) for number in range(6)]
    for number, sha256 in enumerate(sacks):
        objects.fetch(sha256, tmp_path / "shop" / str(number))
        assert (tmp_path / "shop" / str(number)).read_text() == str(number)
    assert not objects.create(file_object(sacks[0]), b"")


def test_a_bucket_that_is_not_there_is_a_mistake_and_no_empty_store(s3: S3Endpoint, tmp_path: Path):
    objects = Objects("s3://of-somebody-else/store")
    for ask in (lambda: objects.read("a"), objects.listing, lambda: objects.size("a"), lambda: kept(objects, tmp_path)):
        with pytest.raises(StoreUnavailable, match="s3://of-somebody-else/store: there is no such bucket"):
            ask()


@pytest.mark.parametrize(("status", "said"), [(403, "does not let us in"), (500, "does not answer as it should")])
def test_an_error_says_where_and_what_to_do_and_nothing_secret(
    s3: S3Endpoint, monkeypatch: pytest.MonkeyPatch, status: int, said: str
):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    objects = Objects(s3.url("locked"))
    s3.fault = lambda number, method, name: status
    with pytest.raises(StoreUnavailable, match=said) as caught:
        objects.read("a")
    assert str(caught.value).startswith(f"{objects.url} ")
    assert SECRET not in str(caught.value)


def test_an_endpoint_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch, s3: S3Endpoint):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1") as caught:
        Objects("s3://grain/store").read("a")
    assert SECRET not in str(caught.value)


def test_without_credentials_the_error_says_which_to_set(monkeypatch: pytest.MonkeyPatch, s3: S3Endpoint):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreUnavailable, match="AWS_ACCESS_KEY_ID"):
        Objects("s3://grain/store").read("a")


@pytest.mark.parametrize("url", ["grain/store", "s3://", "s3://key:secret-word@grain/store", "s3://grain/store?x=1"])
def test_what_is_no_place_is_refused_without_repeating_a_secret(url: str):
    with pytest.raises(ValueError) as caught:
        Objects(url)
    assert "secret-word" not in str(caught.value)


def test_a_worker_gets_the_url_and_opens_its_own_connections(objects: Objects):
    objects.write("a", b"1")
    assert b"Secret" not in pickle.dumps(objects)
    if not objects.url.startswith("memory"):
        assert pickle.loads(pickle.dumps(objects)).read("a") == b"1"
