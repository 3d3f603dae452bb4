"""An agent as anybody writes it with the openai SDK; it has never heard of the platform."""

from openai import OpenAI

client = OpenAI()
lookup = {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]}
tools = [{"type": "function", "function": {"name": "lookup", "description": "Look an order up.", "parameters": lookup}}]
messages = [
    {"role": "system", "content": "You help customers of a shop. Be brief."},
    {"role": "user", "content": "Where is my order 7?"},
]
while calls := (
    said := client.chat.completions.create(model="gpt-4o-mini", messages=messages, tools=tools).choices[0].message
).tool_calls:
    messages.append(said)
    messages += [{"role": "tool", "tool_call_id": call.id, "content": '{"status": "on its way"}'} for call in calls]
print(said.content)
