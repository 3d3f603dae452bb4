"""The agent of `stock_agent.py` with the client library: three lines fetch its harness and record its episodes."""

from openai import OpenAI

import whetstone.openai

ws = whetstone.Client.from_environment()
client = whetstone.openai.wrap(OpenAI())
lookup = {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]}
tools = [{"type": "function", "function": {"name": "lookup", "description": "Look an order up.", "parameters": lookup}}]
harness = ws.harness(user="user-17")
messages = [
    {"role": "system", "content": harness.document["prompt"]["system"]},
    {"role": "user", "content": "Where is my order 7?"},
]
with ws.episode(harness, input="Where is my order 7?") as episode:
    while calls := (
        said := client.chat.completions.create(model="gpt-4o-mini", messages=messages, tools=tools).choices[0].message
    ).tool_calls:
        messages.append(said)
        messages += [{"role": "tool", "tool_call_id": call.id, "content": '{"status": "on its way"}'} for call in calls]
    episode.output(said.content)
print(said.content)
