"""`whetstone doctor`: name what keeps an agent from talking to its platform, and what to do about it.

Checked in this order, because each needs the one before: the address, the host, TLS, whether Whetstone answers there,
the clock, the key, the agent, the scopes. Files of captured traces or episodes are checked without any of these.
"""

import argparse
import os
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit

import httpx

from whetstone.inspection import inspect_file

__all__ = ["Finding", "examine", "main"]

MAX_SKEW_S = 30.0
_TIMEOUT_S = 10.0
_HTTP_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: what it was, whether it is well, what was seen, and what to do where it is not."""

    level: Literal["ok", "wrong"]
    subject: str
    seen: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.level:5}  {self.subject}: {self.seen}" + (f"\n       → {self.remedy}" if self.remedy else "")


def main(arguments: list[str] | None = None) -> int:
    """Print findings; return 0 when all is well, else 1."""
    parser = argparse.ArgumentParser(prog="whetstone", description="Tools for agents that run on Whetstone.")
    commands = parser.add_subparsers(dest="command", required=True)
    doctor = commands.add_parser("doctor", help="name what keeps an agent from talking to its platform")
    doctor.add_argument("--url", default=os.environ.get("WHETSTONE_URL"), help="default: $WHETSTONE_URL")
    doctor.add_argument("--key", default=os.environ.get("WHETSTONE_KEY"), help="default: $WHETSTONE_KEY")
    doctor.add_argument("--agent", default=os.environ.get("WHETSTONE_AGENT"), help="default: $WHETSTONE_AGENT")
    doctor.add_argument("files", nargs="*", type=Path, help="OTLP or episode JSON to check for missing attributes")
    options = parser.parse_args(arguments)
    findings: list[Finding] = []
    if options.url or options.key or options.agent or not options.files:
        findings += _examined(options.url, options.key, options.agent)
    for file in options.files:
        problems = list(inspect_file(file))
        findings += [Finding("wrong", str(file), problem.seen, problem.remedy) for problem in problems]
        findings += [] if problems else [Finding("ok", str(file), "nothing is missing")]
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    return int(any(finding.level == "wrong" for finding in findings))


def _examined(url: str | None, key: str | None, agent: str | None) -> list[Finding]:
    given = {"--url": url, "--key": key, "--agent": agent}
    missing = [
        Finding("wrong", name, "is not given", f"Pass {name} or set WHETSTONE_{name[2:].upper()}.")
        for name, value in given.items()
        if not value
    ]
    return missing or list(examine(url or "", key or "", agent or ""))


def examine(url: str, key: str, agent: str) -> Iterator[Finding]:
    """Yield findings, ending with the first that makes the next ones pointless."""
    parts = urlsplit(url)
    wrong = _wrong_address(parts)
    if wrong:
        yield Finding("wrong", "url", f"{url!r} {wrong}", "Give the platform's root, as https://whetstone.example.")
        return
    root = url.rstrip("/")
    silent = _unreachable(parts)
    if silent:
        yield silent
        return
    started = time.time()
    # The platform's own machine is never asked through a proxy; the world outside may be.
    mounts = {"all://localhost": None, "all://127.0.0.1": None}
    with httpx.Client(base_url=root, timeout=_TIMEOUT_S, mounts=mounts) as http:
        try:
            answer = http.get("/healthz")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            yield _failed(parts, error)
            return
        yield from _identity(answer, root)
        yield from _clock(answer, started)
        if answer.is_success and answer.text.strip() == "ok":
            http.headers["Authorization"] = f"Bearer {key}"
            yield from _access(http, key, agent)


def _wrong_address(parts: SplitResult) -> str:
    try:
        parts.port  # noqa: B018 - reading it is the check
    except ValueError:
        return "has a port that is no number"
    if parts.scheme not in _HTTP_PORTS:
        return "does not begin with https:// or http://"
    if not parts.hostname:
        return "names no host"
    if parts.path.rstrip("/").endswith(("/api/v1", "/api", "/admin", "/v1/traces")):
        return f"goes on to {parts.path!r}"
    return ""


def _unreachable(parts: SplitResult) -> Finding | None:
    host, port = parts.hostname or "", parts.port or _HTTP_PORTS[parts.scheme]
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        # Behind a proxy this machine may know neither the name nor the way, and need not.
        return None
    try:
        socket.create_connection((host, port), timeout=_TIMEOUT_S).close()
    except socket.gaierror as error:
        return Finding("wrong", "host", f"the name {host!r} is not known ({error})", "Check its spelling and your DNS.")
    except (OSError, UnicodeError) as error:
        return Finding(
            "wrong", "host", f"nothing answers at {host}:{port} ({error})",
            "Check that the platform runs, the port, and that no firewall is between.",
        )  # fmt: skip
    return None


def _failed(parts: SplitResult, error: Exception) -> Finding:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Finding(
                "wrong", "TLS", f"the certificate of {parts.hostname} is not trusted ({cause.verify_message})",
                "Use the name on the certificate, renew it, or point SSL_CERT_FILE at the certificate of your authority.",
            )  # fmt: skip
        if isinstance(cause, ssl.SSLError):
            remedy = "The port may speak plain HTTP: try http://, or the port that speaks TLS."
            return Finding("wrong", "TLS", f"no secure connection to {parts.hostname} ({cause})", remedy)
        cause = cause.__cause__ or cause.__context__
    if "SSL" in str(error) or "CERTIFICATE" in str(error):
        return Finding("wrong", "TLS", str(error), "Check the certificate and that the port speaks TLS.")
    return Finding(
        "wrong", "host", f"{parts.netloc} took the connection and gave no answer ({type(error).__name__}: {error})",
        "Check that the platform is well (/readyz), and that http:// or https:// is the right one.",
    )  # fmt: skip


def _identity(answer: httpx.Response, root: str) -> Iterator[Finding]:
    if answer.is_redirect:
        goal = answer.headers.get("Location", "?")
        yield Finding(
            "wrong", "url", f"{root} sends on to {goal}", "Give the address it sends on to, without the path."
        )
    elif not answer.is_success or answer.text.strip() != "ok":
        yield Finding(
            "wrong", "url", f"{root}/healthz answers {answer.status_code}, not as Whetstone does",
            "Give the platform's root; another service, or a proxy, answers here.",
        )  # fmt: skip
    else:
        yield Finding("ok", "url", f"Whetstone answers at {root}")


def _clock(answer: httpx.Response, started: float) -> Iterator[Finding]:
    try:
        theirs = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return
    # The header has whole seconds, and was written somewhere between asking and now.
    skew_s = (started + time.time()) / 2 - (theirs + 0.5)
    if abs(skew_s) > MAX_SKEW_S:
        side = "ahead of" if skew_s > 0 else "behind"
        yield Finding(
            "wrong", "clock", f"this machine is {abs(skew_s):.0f} s {side} the platform",
            "Synchronize the clocks (NTP): ages, pins and the order of episodes depend on them.",
        )  # fmt: skip
    else:
        yield Finding("ok", "clock", f"{abs(skew_s):.0f} s apart")


def _access(http: httpx.Client, key: str, agent: str) -> Iterator[Finding]:
    try:
        harness = http.get(f"/api/v1/agents/{agent}/harness", params={"bundle": "0"})
        # An empty list captures nothing and is still asked for its scope.
        episodes = http.post("/api/v1/episodes", json=[])
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        yield Finding("wrong", "host", f"stopped answering ({type(error).__name__}: {error})", "Look at /readyz.")
        return
    if harness.status_code == httpx.codes.UNAUTHORIZED:
        spelled = "" if key.startswith("wsk_") else " Keys begin with wsk_."
        remedy = f"Issue a new one on the agent's page and copy it whole.{spelled}"
        yield Finding("wrong", "key", "is unknown, expired or revoked (401)", remedy)
        return
    yield Finding("ok", "key", "is known")
    if harness.is_success:
        facts = harness.json()
        yield Finding("ok", "agent", f"{agent} is served version {facts.get('version')} ({facts.get('reason')})")
    elif harness.status_code == httpx.codes.FORBIDDEN:
        yield _without_scope("harness:read", "fetch a harness")
    elif harness.status_code == httpx.codes.NOT_FOUND:
        yield Finding(
            "wrong", "agent", f"{agent!r} is not the agent of this key (404)",
            "Use the agent's slug, as its page shows it, with a key issued for that agent.",
        )  # fmt: skip
    else:
        said = f"answers {harness.status_code}: {harness.text[:200]}"
        yield Finding(
            "wrong", "agent", f"the harness of {agent!r} {said}", "Give the agent a first version; see /readyz."
        )
    if episodes.status_code == httpx.codes.FORBIDDEN:
        yield _without_scope("episode:write", "report episodes")
    elif episodes.is_server_error or episodes.status_code == httpx.codes.NOT_FOUND:
        said = f"/api/v1/episodes answers {episodes.status_code}"
        yield Finding("wrong", "episodes", said, "Look at /readyz and at what stands between.")
    else:
        yield Finding("ok", "episodes", "may be reported")


def _without_scope(scope: str, act: str) -> Finding:
    return Finding("wrong", "scope", f"the key may not {act} (403)", f"Issue an agent's key with the scope {scope!r}.")
