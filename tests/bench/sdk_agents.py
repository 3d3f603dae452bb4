"""One small agent, instrumented by each real SDK as its own documentation says.

    python sdk_agents.py SDK [--stream]

Runs in the benches' environment, which has the SDKs and nothing of this project. Where to send is told by the
environment alone. The agent asks the model, looks an order up when the model calls the tool, and asks again.
"""

import argparse
import json
import os
from collections.abc import Callable
from typing import Any

from openai import OpenAI

QUESTION = "Where is my order 7?"
SYSTEM = "You help customers of a shop. Be brief."
MODEL = "gpt-4o-mini"
FOUND = '{"status": "on its way"}'
USER, CONVERSATION = "user-17", "conversation-3"
TOOL = {
    "type": "function",
    "function": {
        "name": "lookup",
        "description": "Look an order up.",
        "parameters": {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]},
    },
}


def answer(client: Any, *, stream: bool) -> str:
    """Answer the question with at most one tool call; nothing here knows of any instrumentation."""
    messages: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
    while True:
        said = _streamed(client, messages) if stream else _whole(client, messages)
        if not said.get("tool_calls"):
            return str(said["content"])
        messages.append(said)
        messages += [{"role": "tool", "tool_call_id": call["id"], "content": FOUND} for call in said["tool_calls"]]


def _whole(client: Any, messages: list[Any]) -> dict[str, Any]:
    completion = client.chat.completions.create(model=MODEL, temperature=0.2, messages=messages, tools=[TOOL])
    return completion.choices[0].message.model_dump(exclude_none=True)


def _streamed(client: Any, messages: list[Any]) -> dict[str, Any]:
    chunks = client.chat.completions.create(
        model=MODEL, temperature=0.2, messages=messages, tools=[TOOL], stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    content, calls = "", []
    for chunk in chunks:
        for choice in chunk.choices:
            content += choice.delta.content or ""
            for part in choice.delta.tool_calls or ():
                if part.id:
                    calls.append(
                        {"id": part.id, "type": "function", "function": {"name": part.function.name, "arguments": ""}}
                    )
                calls[part.index]["function"]["arguments"] += part.function.arguments or ""
    return {"role": "assistant", "content": content, **({"tool_calls": calls} if calls else {})}


def _exporting(*, logs: bool = False) -> Any:
    """Set OpenTelemetry up as an application does; return a tracer for the application's own span around a turn."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    if logs:
        from opentelemetry._logs import set_logger_provider
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

        log_provider = LoggerProvider()
        log_provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
        set_logger_provider(log_provider)
    return trace.get_tracer("shop")


def _turn(tracer: Any) -> Any:
    """Return the application's own span around one turn, with the ids it knows."""
    return tracer.start_as_current_span("turn", attributes={"session.id": CONVERSATION, "user.id": USER})


def openai_v2(*, stream: bool) -> None:
    from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor

    tracer = _exporting(logs=True)
    OpenAIInstrumentor().instrument()
    with _turn(tracer):
        answer(OpenAI(), stream=stream)


def genai_openai(*, stream: bool) -> None:
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

    tracer = _exporting(logs=True)
    OpenAIInstrumentor().instrument()
    with _turn(tracer):
        answer(OpenAI(), stream=stream)


def openinference(*, stream: bool) -> None:
    from openinference.instrumentation import using_attributes
    from openinference.instrumentation.openai import OpenAIInstrumentor

    tracer = _exporting()
    OpenAIInstrumentor().instrument()
    with (
        using_attributes(session_id=CONVERSATION, user_id=USER),
        tracer.start_as_current_span("turn", attributes={"openinference.span.kind": "AGENT"}),
    ):
        answer(OpenAI(), stream=stream)


def openllmetry(*, stream: bool) -> None:
    from traceloop.sdk import Instruments, Traceloop
    from traceloop.sdk.decorators import workflow

    Traceloop.init(app_name="shop", instruments={Instruments.OPENAI}, telemetry_enabled=False)
    Traceloop.set_association_properties({"user_id": USER, "session_id": CONVERSATION})
    client = OpenAI()

    @workflow(name="turn")
    def turn(question: str) -> str:
        return answer(client, stream=stream)

    turn(QUESTION)


def openllmetry_alone(*, stream: bool) -> None:
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor

    tracer = _exporting()
    OpenAIInstrumentor().instrument()
    with _turn(tracer):
        answer(OpenAI(), stream=stream)


def langfuse(*, stream: bool) -> None:
    from langfuse import get_client, propagate_attributes
    from langfuse.openai import OpenAI as Observed

    client = get_client()
    with (
        client.start_as_current_observation(name="turn", as_type="agent", input=QUESTION) as turn,
        propagate_attributes(user_id=USER, session_id=CONVERSATION),
    ):
        turn.update(output=answer(Observed(), stream=stream))
    client.flush()


def langfuse_alone(*, stream: bool) -> None:
    from langfuse import get_client, observe, propagate_attributes
    from langfuse.openai import OpenAI as Observed

    @observe()
    def turn(question: str) -> str:
        with propagate_attributes(user_id=USER, session_id=CONVERSATION):
            return answer(Observed(), stream=stream)

    turn(QUESTION)
    get_client().flush()


def _pydantic_agent() -> Any:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(base_url=os.environ["OPENAI_BASE_URL"], api_key=os.environ["OPENAI_API_KEY"])
    agent = Agent(OpenAIChatModel(MODEL, provider=provider), name="shop", instructions=SYSTEM)

    @agent.tool_plain
    def lookup(order: str) -> dict[str, str]:
        """Look an order up."""
        return json.loads(FOUND)

    return agent


def _ask_pydantic(*, stream: bool) -> None:
    agent = _pydantic_agent()
    if stream:
        with agent.run_stream_sync(QUESTION) as result:
            result.get_output()
    else:
        agent.run_sync(QUESTION)


def pydantic_ai(*, stream: bool) -> None:
    from pydantic_ai import Agent

    tracer = _exporting()
    Agent.instrument_all()
    with _turn(tracer):
        _ask_pydantic(stream=stream)


def pydantic_ai_logfire(*, stream: bool) -> None:
    import logfire

    logfire.configure(send_to_logfire=False, console=False)
    logfire.instrument_pydantic_ai()
    _ask_pydantic(stream=stream)
    logfire.force_flush()


SDKS: dict[str, Callable[..., None]] = {
    run.__name__: run
    for run in (
        openai_v2, genai_openai, openinference, openllmetry, openllmetry_alone, langfuse, langfuse_alone, pydantic_ai,
        pydantic_ai_logfire,
    )
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("sdk", choices=SDKS)
    parser.add_argument("--stream", action="store_true")
    options = parser.parse_args()
    SDKS[options.sdk](stream=options.stream)


if __name__ == "__main__":
    main()
