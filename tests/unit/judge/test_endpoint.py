"""A judge behind HTTP: bounded patience, no word of the key, no way into the network behind the firewall."""

import socket
from pathlib import Path

import pytest
from fake_judge import FakeJudge
from pydantic import ValidationError

from gristmill.errors import SourceUnavailable
from gristmill.judge.address import checked_address
from gristmill.judge.config import EndpointJudge
from gristmill.judge.endpoint import Endpoint
from gristmill.judge.questions import Judge, JudgeFailed, Question
from gristmill.yaml import load_yaml

KEY = "sk-test-0123456789abcdef"


def endpoint(judge: FakeJudge, **settings) -> Endpoint:
    return Endpoint(
        EndpointJudge(url=judge.url, model="fake", allow_private=True, first_wait_s=0.01, timeout_s=5, **settings)
    )


def question(text: str) -> Question:
    return Question(({"role": "user", "content": text},), max_tokens=8)


def test_replies_come_in_the_order_of_the_questions_and_each_is_asked_once(tmp_path: Path):
    with FakeJudge(lambda asked: f"heard {asked.text}") as fake:
        judge = Judge(endpoint(fake), tmp_path / "memory.jsonl")
        replies = judge.ask([question(text) for text in ("a", "b", "a", "c")], label="test")
        assert [reply.text for reply in replies] == ["heard a", "heard b", "heard a", "heard c"]
        assert sorted(body["messages"][0]["content"] for body, _ in fake.requests) == ["a", "b", "c"]
        assert judge.counts["questions"] == judge.counts["attempts"] == 3


@pytest.mark.parametrize("fault", ["429", "500", "closed", "no json", "no choices"])
def test_a_passing_fault_is_asked_again(fault: str, tmp_path: Path):
    with FakeJudge(lambda asked: "fine", faults=[fault, fault]) as fake:
        judge = Judge(endpoint(fake), tmp_path / "memory.jsonl")
        assert judge.ask([question("a")], label="test")[0].text == "fine"
        assert judge.counts == {
            "questions": 1,
            "remembered": 0,
            "attempts": 3,
            "failed_attempts": 2,
            "too_long": 0,
            "spells_special_token": 0,
        }


def test_after_the_last_attempt_the_error_says_what_and_how_often(tmp_path: Path):
    with FakeJudge(lambda asked: "fine", fault=lambda number: "500") as fake:
        judge = Judge(endpoint(fake, tries=3), tmp_path / "memory.jsonl")
        with pytest.raises(JudgeFailed, match=r"fake at 127.0.0.1: it answers 500, in 3 attempts; .* start again"):
            judge.ask([question("a")], label="test")
        assert len(fake.requests) == 3


def test_what_was_answered_before_a_failure_is_not_asked_again(tmp_path: Path):
    with FakeJudge(lambda asked: "fine", fault=lambda number: "500" if number == 2 else "") as fake:
        memory, questions = tmp_path / "memory.jsonl", [question(text) for text in "abcd"]
        with pytest.raises(JudgeFailed):
            Judge(endpoint(fake, tries=1, concurrency=1), memory).ask(questions, label="test")
        with memory.open("a") as file:
            file.write('{"key": "torn by a cra')
        resumed = Judge(endpoint(fake, tries=1, concurrency=1), memory)
        assert [reply.text for reply in resumed.ask(questions, label="test")] == ["fine"] * 4
        asked = [body["messages"][0]["content"] for body, _ in fake.requests]
        assert asked[:3] == ["a", "b", "c"]
        assert asked.count("a") == asked.count("b") == 1


def test_a_damaged_memory_is_refused_with_its_line(tmp_path: Path):
    memory = tmp_path / "memory.jsonl"
    memory.write_text("nonsense\n{}\n")
    with (
        FakeJudge(lambda asked: "") as fake,
        pytest.raises(ValueError, match=r"memory\.jsonl:1: not a"),
    ):
        Judge(endpoint(fake), memory)


def test_a_tolerated_failure_is_an_answer_without_text(tmp_path: Path):
    with FakeJudge(lambda asked: "fine", fault=lambda number: "500" if number == 0 else "") as fake:
        judge = Judge(endpoint(fake, tries=1, concurrency=1), tmp_path / "memory.jsonl")
        replies = judge.ask([question("a"), question("b")], label="test", tolerant=True)
        assert [(reply.text, reply.why) for reply in replies] == [(None, "failed"), ("fine", "")]
        assert judge.counts["failed"] == 1


def test_a_redirect_is_not_followed(tmp_path: Path):
    with FakeJudge(lambda asked: "fine", faults=["302"]) as fake:
        judge = Judge(endpoint(fake), tmp_path / "memory.jsonl")
        with pytest.raises(JudgeFailed, match="it answers 302"):
            judge.ask([question("a")], label="test")
        assert len(fake.requests) == 1


def test_the_key_is_sent_and_stands_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JUDGE_API_KEY", f" {KEY}\n")
    with FakeJudge(lambda asked: f"your key is {KEY}") as fake:
        judge = Judge(endpoint(fake, key_env="JUDGE_API_KEY"), tmp_path / "memory.jsonl")
        assert judge.ask([question("a")], label="test")[0].text == "your key is [key]"
        assert fake.requests[0][1]["authorization"] == f"Bearer {KEY}"
        assert KEY not in (tmp_path / "memory.jsonl").read_text()
        fake.faults.append("401")
        with pytest.raises(JudgeFailed, match=r"it answers 401; ") as refused:
            judge.ask([question("b")], label="test")
        assert KEY[:6] not in str(refused.value)
        assert KEY not in repr(judge.respondent.identity)


def test_a_missing_key_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("JUDGE_API_KEY", raising=False)
    with FakeJudge(lambda asked: "") as fake, pytest.raises(SourceUnavailable, match="JUDGE_API_KEY has no key"):
        endpoint(fake, key_env="JUDGE_API_KEY")


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "https://api.example.org/v1", "key_env": KEY},
        {"url": f"https://user:{KEY}@api.example.org/v1"},
        {"url": f"https://api.example.org/v1?key={KEY}"},
        {"url": "https://api.example.org/v1", "api_key": KEY},
    ],
)
def test_a_key_in_the_wrong_place_is_refused_without_being_repeated(settings: dict, tmp_path: Path):
    with pytest.raises(ValidationError) as direct:
        EndpointJudge.model_validate({"model": "fake", **settings})
    file = tmp_path / "judge.yaml"
    file.write_text("".join(f"{name}: {value!r}\n" for name, value in {"model": "fake", **settings}.items()))
    with pytest.raises(ValueError) as loaded:
        load_yaml(file, [], EndpointJudge)
    assert KEY not in str(direct.value)
    assert KEY not in str(loaded.value)


@pytest.mark.parametrize(
    ("address", "scheme", "allow", "reason"),
    [
        ("127.0.0.1", "https", False, "allow_private: true"),
        ("10.1.2.3", "https", False, "allow_private: true"),
        ("192.168.0.7", "https", False, "allow_private: true"),
        ("100.64.0.1", "https", False, "allow_private: true"),
        ("::1", "https", False, "allow_private: true"),
        ("fd00::1", "https", False, "allow_private: true"),
        ("::ffff:10.0.0.1", "https", False, "allow_private: true"),
        ("64:ff9b::7f00:1", "https", False, "allow_private: true"),
        ("169.254.169.254", "http", True, "which no judge has"),
        ("::ffff:169.254.169.254", "https", True, "which no judge has"),
        ("0.0.0.0", "http", True, "which no judge has"),
        ("93.184.215.14", "http", True, "use https"),
        ("93.184.215.14", "https", False, None),
        ("10.1.2.3", "http", True, None),
    ],
)
def test_where_a_name_leads_decides(
    address: str, scheme: str, allow: bool, reason: str | None, monkeypatch: pytest.MonkeyPatch
):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(family, socket.SOCK_STREAM, 6, "", (address, 443))])
    config = EndpointJudge(url=f"{scheme}://judge.example.org/v1", model="fake", allow_private=allow)
    if reason is None:
        assert Endpoint(config).name == "fake at judge.example.org"
    else:
        with pytest.raises(ValueError, match=reason):
            Endpoint(config)


def test_a_server_s_explanation_is_repeated_without_control_characters(tmp_path: Path):
    with FakeJudge(lambda asked: "fine", faults=["404"], said="no model \x1b[31m named fake") as fake:
        judge = Judge(endpoint(fake), tmp_path / "memory.jsonl")
        with pytest.raises(JudgeFailed, match=r"it answers 404 \(no model \[31m named fake\);"):
            judge.ask([question("a")], label="test")


def test_an_ipv4_address_is_preferred(monkeypatch: pytest.MonkeyPatch):
    found = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", (host, 443)) for host in ("2606:4700::1111", "93.184.215.14")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert str(checked_address("https://judge.example.org/v1", allow_private=False)) == "93.184.215.14"


def test_one_private_address_among_public_ones_is_refused(monkeypatch: pytest.MonkeyPatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 443)) for host in ("93.184.215.14", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(ValueError, match=r"leads to 10\.0\.0\.1"):
        Endpoint(EndpointJudge(url="https://judge.example.org/v1", model="fake"))


def test_the_connection_goes_to_the_address_that_was_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A name server that gives another address the second time is not asked a second time."""
    looked_up = []
    real = socket.getaddrinfo

    def lookup(host, *arguments, **more):
        if host == "judge.example.org":
            looked_up.append(host)
            host = "127.0.0.1" if len(looked_up) == 1 else "10.255.255.1"
        return real(host, *arguments, **more)

    with FakeJudge(lambda asked: "fine") as fake:
        monkeypatch.setattr(socket, "getaddrinfo", lookup)
        named = fake.url.replace("127.0.0.1", "judge.example.org")
        judge = Judge(Endpoint(EndpointJudge(url=named, model="fake", allow_private=True)), tmp_path / "memory.jsonl")
        assert judge.ask([question("a")], label="test")[0].text == "fine"
        assert fake.requests[0][1]["host"] == named.split("/")[2]
        assert looked_up == ["judge.example.org"]
