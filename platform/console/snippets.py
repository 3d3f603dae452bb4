"""What to paste where an agent runs, with this server's address and the agent's key in it. Pure."""

import json
import shlex
from dataclasses import dataclass
from urllib.parse import quote

__all__ = ["PLACEHOLDER", "Snippet", "snippets"]

PLACEHOLDER = "wsk_YOUR_KEY"


@dataclass(frozen=True)
class Snippet:
    """One text to paste, what it is for, and what to know about it."""

    name: str
    title: str
    text: str
    note: str


def snippets(address: str, slug: str, key: str = PLACEHOLDER) -> list[Snippet]:
    """Return the ways to connect the agent `slug` to the server at `address` (without a slash at its end)."""
    return [
        Snippet(
            "otel", "OpenTelemetry, for any instrumented agent", _otel(address, key),
            "No code changes: every OTLP/HTTP exporter reads these variables. Traces become episodes some seconds after "
            "their last span.",
        ),
        Snippet(
            "client", "The whetstone client, in three lines", _client(address, slug, key),
            "It also fetches the harness, spools while this server is away, and never throws into the agent. "
            "whetstone doctor names what is wrong when nothing arrives.",
        ),
        Snippet("openai", "The openai client's calls, recorded by themselves", _OPENAI, "Inside of an episode its calls are steps."),
        Snippet("curl", "One episode by hand", _curl(address, key), "Sending it twice is harmless: the id makes it one episode."),
    ]  # fmt: skip


def _otel(address: str, key: str) -> str:
    named = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": address,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={quote(f'Bearer {key}')}",
        # Newer instrumentations of openai take `true` for nothing; older ones know this word only with the opt-in.
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "span_only",
        "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental",
    }
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in named.items())


def _client(address: str, slug: str, key: str) -> str:
    made = ", ".join([json.dumps(address), json.dumps(key), f"agent={json.dumps(slug)}"])
    return (
        f"import whetstone\n\nws = whetstone.Client({made})\n"
        'with ws.episode(ws.harness(user="user-17", conversation="c-1"), input=question) as episode:\n'
        "    episode.output(my_agent(question))"
    )


_OPENAI = "import openai, whetstone.openai\n\nclient = whetstone.openai.wrap(openai.OpenAI())"


def _curl(address: str, key: str) -> str:
    episode = {
        "id": "hello-1",
        "conversation": "c-1",
        "subject": "user-17",
        "input": {"messages": [{"role": "user", "content": "Where is my order?"}]},
        "output": {"text": "It ships tomorrow."},
        "usage": {"model": "gpt-x", "input_tokens": 12, "output_tokens": 5},
    }
    body = "{" + ",\n ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in episode.items()) + "}"
    lines = [
        f"curl {shlex.quote(f'{address}/api/v1/episodes')}",
        f"-H {shlex.quote(f'Authorization: Bearer {key}')}",
        "-H 'Content-Type: application/json'",
        f"-d {shlex.quote(body)}",
    ]
    return " \\\n  ".join(lines)
