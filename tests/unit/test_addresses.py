"""Which addresses may be spoken to, by a table, by a real server, and by a name that changes its mind."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from faulty_server import FaultyServer

from flows.cli.servers import Endpoints
from gristmill.addresses import ALLOWED, PrivateAddress, has_credentials, require_public, without_secrets
from gristmill.align.rows_config import located
from gristmill.crawl.fetch import Fetcher
from gristmill.crawl.transfer import Refused
from gristmill.crawl.warc_files import find_warc_files
from gristmill.errors import SourceUnavailable
from gristmill.guarded_http import GuardedTransport
from gristmill.reference_files import reference_file
from gristmill.text.config import LanguageConfig
from gristmill.text.language_model import model_path


@pytest.fixture
def nothing_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ALLOWED)


@pytest.mark.usefixtures("nothing_allowed")
@pytest.mark.parametrize(
    "host",
    [
        *(
            "127.0.0.1",
            "127.8.8.8",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
        ),
        *("[::1]", "[fe80::1]", "[fc00::1]", "[::ffff:10.0.0.1]", "[::]", "224.0.0.1", "localhost"),
        # IPv4 addresses inside of IPv6 ones: NAT64, 6to4
        *("[64:ff9b::a9fe:a9fe]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[2002:a00:1::1]"),
    ],
)
def test_private_addresses_are_refused(host: str):
    with pytest.raises(PrivateAddress, match=ALLOWED):
        require_public(f"http://{host}:8080/latest/meta-data")


@pytest.mark.usefixtures("nothing_allowed")
@pytest.mark.parametrize("host", ["93.184.216.34", "[2606:4700::1111]", "[64:ff9b::5db8:d822]", "no-such-name.invalid"])
def test_public_addresses_and_names_nobody_knows_pass(host: str):
    require_public(f"https://{host}/")


@pytest.mark.usefixtures("nothing_allowed")
def test_one_private_address_of_a_name_is_enough():
    with pytest.raises(PrivateAddress, match=r"rebind\.example is 10\.0\.0\.5"):
        require_public("http://rebind.example/", resolve=lambda host: ["93.184.216.34", "10.0.0.5"])


def test_a_network_that_is_named_is_allowed_and_no_other(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(ALLOWED, "10.1.0.0/16, 127.0.0.1")
    require_public("http://10.1.9.9/")
    require_public("http://127.0.0.1/")
    with pytest.raises(PrivateAddress):
        require_public("http://10.2.0.1/")
    monkeypatch.setenv(ALLOWED, "10.1.0.0/99")
    with pytest.raises(ValueError, match="write networks such as"):
        require_public("http://10.1.9.9/")


@pytest.fixture
def of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment that `run`, `schedule` and `deploy` set before anything is fetched."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    there = Endpoints("http://127.0.0.1:4310/api", "", "http://127.0.0.1:5310", "", prefect_home=None)
    for name, value in there.environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def elsewhere(site: FaultyServer) -> str:
    """The site under an address that is not allowed."""
    return site.url.replace("127.0.0.1", "127.0.0.2")


@pytest.fixture
def site() -> Iterator[FaultyServer]:
    with FaultyServer({"page": b"grist", "a.txt": b"grist"}) as opened:
        opened.redirects["away"] = opened.url.replace("127.0.0.1", "127.0.0.2") + "/page"
        opened.answers["folder/"] = lambda query: (200, b'<a href="a.txt">a</a>')
        yield opened


@pytest.mark.usefixtures("of_a_run")
def test_a_run_does_not_follow_a_redirect_into_a_private_network(site: FaultyServer):
    with Fetcher() as fetcher:
        assert fetcher.get(f"{site.url}/page", bytes) == b"grist"
        with pytest.raises(Refused, match=r"127\.0\.0\.2, an address of a private network"):
            fetcher.get(f"{site.url}/away", bytes)


@pytest.mark.usefixtures("of_a_run", "nothing_allowed")
def test_a_run_resolves_names_before_it_speaks_to_them(site: FaultyServer):
    with Fetcher() as fetcher, pytest.raises(Refused, match=r"localhost is (127\.0\.0\.1|::1)"):
        fetcher.get(site.url.replace("127.0.0.1", "localhost") + "/page", bytes)
    assert not site.requests


def test_reference_files_and_models_are_not_fetched_from_a_private_network(
    site: FaultyServer, elsewhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path))
    assert reference_file(f"{site.url}/page", setting="lists").read_bytes() == b"grist"
    for url in (f"{elsewhere}/page", f"{site.url}/away"):
        with pytest.raises(SourceUnavailable, match="an address of a private network"):
            reference_file(url, setting="lists")
        with pytest.raises(SourceUnavailable, match="an address of a private network"):
            model_path(LanguageConfig(model=url))


def test_no_other_file_of_a_configuration_is_looked_for_in_a_private_network(site: FaultyServer, elsewhere: str):
    assert located([f"{site.url}/folder/*.txt"]) == [f"{site.url}/folder/a.txt"]
    asked = len(site.requests)
    for look in (
        lambda: located([f"{elsewhere}/folder/*.txt"]),
        lambda: find_warc_files([f"{elsewhere}/folder/*.txt"], source="web"),
        lambda: Fetcher().get(f"simplecache::{elsewhere}/page", bytes),
    ):
        with pytest.raises(SourceUnavailable, match="an address of a private network"):
            look()
    assert len(site.requests) == asked


def test_what_the_environment_sends_through_a_proxy_goes_there_and_the_rest_is_checked(
    site: FaultyServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("http_proxy", site.url)
    monkeypatch.setenv("no_proxy", "inside.example,localhost")
    site.answers["page"] = lambda query: (200, b"by the proxy")
    with Fetcher() as fetcher:
        # nobody but the proxy knows the name
        assert fetcher.get("http://nobody-knows.example/page", bytes) == b"by the proxy"
        with pytest.raises(Refused, match=r"10\.0\.0\.5, an address of a private network"):
            fetcher.get("http://10.0.0.5/page", bytes)
        monkeypatch.delenv(ALLOWED)
        with pytest.raises(Refused, match="localhost is"):
            fetcher.get(site.url.replace("127.0.0.1", "localhost") + "/page", bytes)


def test_a_crawl_does_not_follow_a_redirect_into_a_private_network():
    with FaultyServer({"page": b"grist"}) as site, Fetcher() as fetcher:
        assert fetcher.get(f"{site.url}/page", bytes) == b"grist"
        # 127.0.0.1 is allowed, 127.0.0.2 is not: where a redirect leads decides
        site.redirects["away"] = site.url.replace("127.0.0.1", "127.0.0.2") + "/page"
        with pytest.raises(Refused, match=r"127\.0\.0\.2, an address of a private network"):
            fetcher.get(f"{site.url}/away", bytes)
        site.redirects["near"] = f"{site.url}/page"
        assert fetcher.get(f"{site.url}/near", bytes) == b"grist"


def test_a_name_that_changes_after_it_was_looked_at_is_caught_by_the_connection(monkeypatch: pytest.MonkeyPatch):
    """DNS rebinding: public when asked about, loopback when connected to."""
    monkeypatch.delenv(ALLOWED)
    real = socket.getaddrinfo
    answers = iter(["93.184.216.34", "127.0.0.1"])

    def rebinding(host, *more, **options):
        name = next(answers) if host == "rebind.example" else host
        return real(name, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with (
        FaultyServer({"page": b"grist"}) as site,
        httpx.Client(transport=GuardedTransport()) as client,
    ):
        port = site.url.rpartition(":")[2]
        with pytest.raises(PrivateAddress, match=r"rebind\.example is 127\.0\.0\.1"):
            client.get(f"http://rebind.example:{port}/page")


def test_passwords_and_steering_characters_leave_a_text_and_all_else_stays():
    said = "API request to http://ann:pl@nted-secret@mlflow:5000/x failed\nretry \x1b[31mred\x9b2J at s3://a/b@c"
    told = without_secrets(said)
    assert "secret" not in told
    assert told == "API request to http://mlflow:5000/x failed\nretry \\x1b[31mred\\x9b2J at s3://a/b@c"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://ann:secret@host:5000/x", "http://host:5000/x"),
        ("http://ann@host/", "http://host/"),
        ("http://ann:s@secret@host/", "http://host/"),
        (f"https://{'secret' * 1000}@host/x", "https://host/x"),  # a token of its own
        ("http://ann:sec/ret@host:5000/x", "http://host:5000/x"),
        ("http://ann:/secret@host/", "http://host/"),
        ("http://ann:12/secret/@host/", "http://ann:12/secret/@host/"),  # what every client takes for port 12 of ann
        ("http://a:se/cret@one http://b:sec/ret@two", "http://one http://two"),
    ],
)
def test_a_user_part_is_found_whatever_its_length_and_signs(url: str, shown: str):
    assert without_secrets(url) == shown
    assert has_credentials(url) == (url != shown)


@pytest.mark.parametrize(
    "url",
    [
        *("http://host:5000/a@b", "https://host/@scope/file", "s3://bucket/a:b@c", "http://[::1]:5000/a@b"),
        *("hf://datasets/org/name@main/x", "http://host/ said: ann@example.org", "file:///C:/a@b"),
    ],
)
def test_an_at_sign_elsewhere_is_no_user(url: str):
    assert without_secrets(url) == url
    assert not has_credentials(url)
