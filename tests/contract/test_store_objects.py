from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from foreman.errors import ArtifactStoreUnavailable
from foreman.store.objects import CHUNK_B, Objects
from tests.addresses import free_port
from tests.artifacts import KINDS, LOCAL
from tests.object_store import ObjectStore
from tests.stores import new_id

#: What a pruner is given at once, and more.
MANY = 1_200


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """One S3 server for the whole session."""
    with ObjectStore(tmp_path_factory.mktemp("s3") / "moto.log") as server:
        yield server


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the objects are kept; it need not exist, and its name needs escaping in a URL."""
    return tmp_path / "arti facts"


@pytest.fixture
def local(directory: Path) -> Objects:
    """An object store in a local directory."""
    return Objects(directory.as_uri())


@pytest.fixture(params=KINDS)
def objects(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Objects:
    """An object store of each kind; of the remote one a part that no other test sees."""
    if request.param == LOCAL:
        directory: Path = request.getfixturevalue("directory")
        return Objects(directory.as_uri())
    server: ObjectStore = request.getfixturevalue("object_store")
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    return Objects(f"{server.url}/{new_id()}")


def read(objects: Objects, location: str, start: int, end: int) -> bytes:
    """Part of an object, in one piece."""
    return b"".join(objects.read(location, start, end))


@pytest.mark.parametrize("size_b", [0, 1, CHUNK_B, 3 * CHUNK_B + 7])
def test_what_was_put_is_read_whole_and_in_part(objects: Objects, size_b: int) -> None:
    """In pieces that are bounded, whatever the size."""
    data = bytes(number % 251 for number in range(size_b))
    location = objects.put(new_id(), "completion", data)
    assert read(objects, location, 0, size_b) == data
    assert read(objects, location, size_b // 3, size_b // 2) == data[size_b // 3 : size_b // 2]
    assert all(len(piece) <= CHUNK_B for piece in objects.read(location, 0, size_b))


def test_putting_again_replaces(objects: Objects) -> None:
    """A second try to store the same completion is no error and leaves one object."""
    job_id = new_id()
    first = objects.put(job_id, "completion", b"first")
    assert objects.put(job_id, "completion", b"second!") == first
    assert read(objects, first, 0, 7) == b"second!"


@pytest.mark.local
def test_an_object_is_there_whole_or_not_at_all(local: Objects, directory: Path) -> None:
    """Whoever reads while it is replaced sees the one or the other, and no half-written file is left behind."""
    job_id = new_id()
    versions = [bytes([value]) * 500_000 for value in (1, 2)]
    location = local.put(job_id, "completion", versions[0])
    stop = threading.Event()
    seen: list[bytes] = []

    def look() -> None:
        while not stop.is_set():
            seen.append((directory / location).read_bytes())

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(30):
        local.put(job_id, "completion", versions[number % 2])
    stop.set()
    reader.join()
    assert set(seen) <= set(versions)
    assert [path.name for path in (directory / location).parent.iterdir()] == ["completion"]


def test_what_is_deleted_is_gone_and_may_be_deleted_again(objects: Objects) -> None:
    """A pruner that was interrupted begins anew."""
    kept, gone = (objects.put(new_id(), "completion", b"x") for _ in range(2))
    objects.delete([gone])
    objects.delete([gone, gone])
    with pytest.raises(FileNotFoundError):
        read(objects, gone, 0, 1)
    assert read(objects, kept, 0, 1) == b"x"


def test_many_are_deleted_at_once(objects: Objects) -> None:
    """More than one request to S3 can take, those that are gone among them; and none is fine as well."""
    locations = [objects.put(new_id(), "completion", b"x") for _ in range(3)]
    objects.delete([*locations, *(f"{number:02}/gone/completion" for number in range(MANY))])
    objects.delete([])
    for location in locations:
        with pytest.raises(FileNotFoundError):
            read(objects, location, 0, 1)


def test_a_store_that_answers_is_well_whatever_it_has(objects: Objects) -> None:
    """Empty or not."""
    objects.probe()
    objects.put(new_id(), "completion", b"x")
    objects.probe()


@pytest.mark.local
def test_pruned_jobs_leave_no_empty_directories(local: Objects, directory: Path) -> None:
    """A year of jobs would be millions of them."""
    local.delete([local.put(new_id(), "completion", b"x") for _ in range(3)])
    assert list(directory.rglob("*")) == []
    assert local.put(new_id(), "completion", b"x")


@pytest.mark.local
def test_a_directory_that_became_something_else_is_unavailable(local: Objects, directory: Path) -> None:
    """A volume that is not mounted: writing and probing say so in one kind of error, without a path in it."""
    local.probe()
    directory.rmdir()
    directory.write_text("not a directory")
    with pytest.raises(ArtifactStoreUnavailable) as refused:
        local.put(new_id(), "completion", b"x")
    assert str(directory) not in str(refused.value)


@pytest.mark.parametrize("away", ["the bucket", "the server"])
def test_a_remote_store_that_cannot_be_used_is_unavailable(
    object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    """Writing and probing, and deleting where nobody answers, fail in one way, and tell no address and no key."""
    environ = object_store.environ
    if away == "the server":
        environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{free_port()}"
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    objects = Objects(object_store.url if away == "the server" else "s3://another/place")
    tries: list[Callable[[], object]] = [objects.probe, lambda: objects.put(new_id(), "completion", b"x")]
    if away == "the server":
        tries.append(lambda: objects.delete(["a/b/c"]))
    for attempt in tries:
        with pytest.raises(ArtifactStoreUnavailable) as refused:
            attempt()
        assert not [value for value in environ.values() if value in str(refused.value)]
