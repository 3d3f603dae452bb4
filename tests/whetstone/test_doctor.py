"""The doctor names what is wrong, says what to do, and its exit code says whether all is well."""

import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.whetstone.fake_platform import FakePlatform
from whetstone.doctor import examine, main

RECORDED = Path(__file__).resolve().parents[3] / "shared" / "data" / "otlp_recorded"


def wrong(url: str, key: str = "wsk_x", agent: str = "desk") -> list[tuple[str, str]]:
    return [(finding.subject, finding.seen) for finding in examine(url, key, agent) if finding.level == "wrong"]


def test_examine__all_is_well__says_so(platform: FakePlatform, capsys: Any) -> None:
    assert wrong(platform.url) == []
    assert main(["doctor", "--url", platform.url, "--key", "wsk_x", "--agent", "desk"]) == 0
    assert "desk is served version 1" in capsys.readouterr().out
    assert platform.episodes == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("whetstone.example", "does not begin with"), ("ftp://whetstone.example", "does not begin with"),
        ("https://", "names no host"), ("http://host:port", "a port that is no number"),
        ("https://whetstone.example/api/v1", "goes on to"), ("https://whetstone.example/v1/traces/", "goes on to"),
    ],
)  # fmt: skip
def test_examine__address__is_named(url: str, said: str) -> None:
    ((subject, seen),) = wrong(url)

    assert subject == "url"
    assert said in seen


def test_examine__unknown_name_and_closed_port__are_told_apart() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    ((closed, seen),) = wrong(f"http://127.0.0.1:{port}")
    assert (closed, str(port) in seen) == ("host", True)
    assert "nothing answers" in seen

    ((unknown, seen),) = wrong("http://no-such-host.invalid")
    assert unknown == "host"
    assert "no-such-host.invalid" in seen


def test_examine__plain_http_where_tls_is_expected__is_tls(platform: FakePlatform) -> None:
    ((subject, _),) = wrong(platform.url.replace("http://", "https://"))

    assert subject == "TLS"


@pytest.fixture
def untrusted(tmp_path: Path) -> Iterator[str]:
    """Run a TLS server whose certificate nobody signed."""
    openssl = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    try:
        subprocess.run([*openssl, *files], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl makes the certificate")
    server = [sys.executable, "-c", TLS_SERVER, str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")]
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"https://127.0.0.1:{process.stdout.readline().strip()}"
        process.kill()


TLS_SERVER = """
import http.server, ssl, sys
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


def test_examine__certificate_nobody_trusts__is_tls_and_says_why(untrusted: str) -> None:
    ((subject, seen),) = wrong(untrusted)

    assert subject == "TLS"
    assert "not trusted" in seen
    assert ssl.OPENSSL_VERSION


@pytest.mark.parametrize(
    ("failing", "subject", "said"),
    [
        ({"/harness": 401, "/episodes": 401}, "key", "401"),
        ({"/harness": 403}, "scope", "fetch a harness (403)"),
        ({"/episodes": 403}, "scope", "report episodes (403)"),
        ({"/harness": 404}, "agent", "'desk' is not the agent of this key (404)"),
        ({"/harness": 409}, "agent", "answers 409"),
        ({"/episodes": 503}, "episodes", "answers 503"),
        ({"/healthz": 404}, "url", "not as Whetstone does"),
        ({"/healthz": 302}, "url", "sends on to"),
    ],
)
def test_examine__platform_refuses__names_the_cause(
    platform: FakePlatform, failing: dict[str, int], subject: str, said: str
) -> None:
    platform.failing_paths = failing
    platform.failing_headers = {"Location": "https://elsewhere.example/healthz"}
    ((named, seen),) = wrong(platform.url)

    assert named == subject
    assert said in seen


def test_examine__key_of_another_shape__says_how_keys_begin(platform: FakePlatform) -> None:
    platform.failing_paths = {"/harness": 401}
    finding = next(finding for finding in examine(platform.url, "sk-123", "desk") if finding.subject == "key")

    assert "Keys begin with wsk_" in finding.remedy


@pytest.mark.parametrize(("skew_s", "said"), [(-120, "120 s ahead of"), (120, "120 s behind"), (20, "")])
def test_examine__clocks_differ__is_said_beyond_half_a_minute(platform: FakePlatform, skew_s: float, said: str) -> None:
    platform.clock_skew_s = skew_s
    found = dict(wrong(platform.url))

    assert bool(found) == bool(said)
    if said:
        seconds = next(int(word) for word in found["clock"].split() if word.isdigit())
        assert abs(seconds - 120) <= 2
        assert said.partition(" s ")[2] in found["clock"]


def test_main__nothing_given__asks_for_it(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "KEY", "AGENT"):
        monkeypatch.delenv(f"WHETSTONE_{name}", raising=False)

    assert main(["doctor"]) == 1
    assert "set WHETSTONE_KEY" in capsys.readouterr().out


def test_console__as_a_module__answers_with_its_exit_code(platform: FakePlatform) -> None:
    surroundings = os.environ | {"WHETSTONE_URL": platform.url, "WHETSTONE_KEY": "wsk_x", "WHETSTONE_AGENT": "desk"}
    command = [sys.executable, "-m", "whetstone", "doctor"]
    well = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)
    assert (well.returncode, well.stderr) == (0, "")
    platform.failing_paths = {"/harness": 401}

    ill = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)
    assert ill.returncode == 1
    assert "wrong  key" in ill.stdout


EPISODE = {
    "id": "e1", "conversation": "c1", "subject": "u1", "started_at": "2026-01-01T00:00:00Z", "input": {"a": 1},
    "output": {"text": "x"}, "harness_digest": "0" * 64,
}  # fmt: skip


@pytest.mark.parametrize("form", ["one", "list", "lines"])
def test_files__episodes__missing_fields_are_named(tmp_path: Path, capsys: Any, form: str) -> None:
    def written(*episodes: dict[str, Any]) -> str:
        path = tmp_path / "episodes.json"
        texts = {
            "one": json.dumps(episodes[-1]), "list": json.dumps(episodes), "lines": "\n".join(map(json.dumps, episodes)),
        }  # fmt: skip
        path.write_text(texts[form])
        return str(path)

    assert main(["doctor", written(EPISODE)]) == 0
    assert "nothing is missing" in capsys.readouterr().out
    broken = {name: value for name, value in EPISODE.items() if name != "harness_digest"} | {"channel": "chat"}

    assert main(["doctor", written(EPISODE, broken)]) == 1
    said = capsys.readouterr().out
    assert "'harness_digest' is missing in 1 of" in said
    assert "harness.reference()" in said
    assert "no field 'channel'" in said


def span(**attributes: str) -> dict[str, Any]:
    named = [{"key": name.replace("__", "."), "value": {"stringValue": value}} for name, value in attributes.items()]
    return {"traceId": "a" * 32, "spanId": "b" * 16, "name": "chat", "attributes": named}


def test_files__otlp__missing_attributes_are_named(tmp_path: Path, capsys: Any) -> None:
    def written(*spans: dict[str, Any], resource: list[dict[str, Any]]) -> str:
        path = tmp_path / "traces.json"
        about = {"resource": {"attributes": resource}, "scopeSpans": [{"spans": list(spans)}]}
        path.write_text(json.dumps({"resourceSpans": [about]}))
        return str(path)

    whole = span(session__id="c", gen_ai__request__model="m", gen_ai__usage__input_tokens="3", input__value="?")
    digest = [{"key": "whetstone.harness.digest", "value": {"stringValue": "0" * 64}}]
    user = [{"key": "user.id", "value": {"stringValue": "u"}}]
    assert main(["doctor", written(span(), whole, resource=digest + user)]) == 0

    capsys.readouterr()
    base64 = whole | {"traceId": "qqqqqqqqqqqqqqqqqqqqqg=="}
    assert main(["doctor", written(base64, resource=user)]) == 1
    said = capsys.readouterr().out
    assert "no record has whetstone.harness.digest" in said
    assert "harness.span_attributes()" in said
    assert "no proper traceId" in said
    assert "hexadecimal" in said
    assert "session.id" not in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no json", "is not JSON"), ("[]", "is empty"), ('{"resourceSpans": []}', "holds no span"),
        ('{"resource_spans": []}', "underscores"), ("[1, 2]", "2 of 2 items are no objects"), ("\xff\xfe", "read as text"),
    ],
)  # fmt: skip
def test_files__unreadable__say_what_to_give(tmp_path: Path, capsys: Any, text: str, said: str) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(text.encode("latin-1"))

    assert main(["doctor", str(path)]) == 1
    assert said in capsys.readouterr().out


@pytest.mark.skipif(not RECORDED.is_dir(), reason="recorded bodies are not beside this checkout")
@pytest.mark.parametrize("path", sorted(RECORDED.glob("*traces*.json")) or [Path()], ids=lambda path: path.stem)
def test_files__recorded_of_real_sdks__lack_only_what_no_sdk_knows(path: Path, capsys: Any) -> None:
    main(["doctor", str(path)])
    said = capsys.readouterr().out

    assert "whetstone.harness.digest" in said
    for known in ("the model", "proper traceId", "holds no span", "the tokens"):
        assert known not in said
