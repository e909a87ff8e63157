from __future__ import annotations

import hashlib
from pathlib import Path

import falcon
import pytest
from falcon import testing

from foreman.api import problems
from foreman.api.assets import DIRECTORY, PREFIX, ROUTE, Assets, read_assets

SHIPPED = read_assets()


@pytest.fixture
def client() -> testing.TestClient:
    """A client of the files that are shipped."""
    app = falcon.App()
    problems.install(app)
    app.add_route(ROUTE, Assets(SHIPPED))
    return testing.TestClient(app)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_file_is_served_as_what_it_is(client: testing.TestClient, name: str) -> None:
    """Its very bytes, its type, and no guessing; HEAD says the same without them."""
    got, head = client.simulate_get(PREFIX + name), client.simulate_head(PREFIX + name)
    assert got.status_code == head.status_code == 200
    assert got.content == (DIRECTORY / name).read_bytes()
    assert head.content == b""
    assert got.headers["Content-Type"] == head.headers["Content-Type"] == SHIPPED[name].media_type
    assert got.headers["X-Content-Type-Options"] == "nosniff"


def test_only_the_url_that_changes_with_the_file_is_kept_unasked(client: testing.TestClient, tmp_path: Path) -> None:
    """The digest in the URL is that of the bytes; any other URL of the file has to be asked about each time."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x/a.css").write_text("a{}")
    digest = hashlib.sha256(b"a{}").hexdigest()[:16]
    assert Assets(read_assets(tmp_path)).url("x/a.css") == f"/assets/x/a.css?v={digest}"
    url = Assets(SHIPPED).url("docs/swagger-ui.css")
    assert client.simulate_get(url).headers["Cache-Control"] == "public, max-age=31536000, immutable"
    for other in (url[:-1], url.partition("?")[0], url + "&v=1"):
        assert client.simulate_get(other).headers["Cache-Control"] == "public, no-cache", other


def test_a_file_that_the_client_has_is_not_sent_again(client: testing.TestClient) -> None:
    """304 for its entity tag."""
    tag = client.simulate_get("/assets/docs/swagger-ui.css").headers["ETag"]
    again = client.simulate_get("/assets/docs/swagger-ui.css", headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)


@pytest.mark.parametrize(
    "path",
    [
        *("", "docs", "docs/", "nothing.css", "DOCS/SWAGGER-UI.CSS", "docs//swagger-ui.css", "./docs/swagger-ui.css"),
        *("../assets/docs/swagger-ui.css", "docs/../docs/swagger-ui.css", "..%2f..%2fapi/app.py", "../../api/app.py"),
        *("/etc/passwd", "%2fetc%2fpasswd", "docs/swagger-ui.css%00", "docs\\swagger-ui.css", "%ff"),
    ],
)
def test_nothing_else_is_found(client: testing.TestClient, path: str) -> None:
    """A path is looked up among the files and never handed to the disk."""
    assert client.simulate_get(PREFIX + path).status_code == 404


def test_a_file_of_no_known_kind_is_not_shipped(tmp_path: Path) -> None:
    """It would be served as something that it is not."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x/page.exe").write_bytes(b"")
    with pytest.raises(KeyError):
        read_assets(tmp_path)
