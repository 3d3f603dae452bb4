"""Simulated customers: each has a need, words for it, orders of their own, and patience; and the meter over an agent.

What a customer wants is known only here: a reply satisfies when it holds every fact of the answer, filled with the
customer's own order. The agent, over HTTP, sees words alone; outcomes are reported as the customer's system would.
"""

import hashlib
import random
import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal, Self

import httpx

from demo.scenario import Answer, Customers, Scenario, Utterance

__all__ = [
    "AgentEndpoint",
    "Conversation",
    "Customer",
    "Exchange",
    "Metered",
    "Reply",
    "converse",
    "meter",
    "population",
    "report_outcomes",
    "satisfies",
    "serve_customers",
]

type End = Literal["resolved", "failed", "abandoned", "escalated"]

_FRUSTRATED = ("No, that is not it.", "Not what I asked.", "Again, in other words:", "Sorry, but no.", "Hmm, still no.")
_COMPLAINTS = (
    "This is really not helpful.",
    "I have asked nicely and got nothing. Not good enough.",
    "What a waste of my time.",
    "Seriously? That does not answer my question at all.",
)
_PERSON_REQUESTS = (
    "Can I talk to a real person please?",
    "I would rather speak to a human.",
    "Just give me somebody from the team.",
)
_FRUSTRATED_SHARE = 0.4
_ATTEMPTS = 5
_PAUSE_S = 0.2
_TYPO_LETTERS = 5


@dataclass(frozen=True, slots=True)
class Reply:
    """What the customer gets back; `error` is set when the agent broke instead."""

    text: str
    handoff: bool = False
    sources: tuple[str, ...] = ()
    episode: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """One message and the reply to it."""

    message: str
    reply: Reply


@dataclass(frozen=True, slots=True)
class Conversation:
    """What happened between one customer and the agent; `end` is what the customer's own system knows of it."""

    id: str
    subject: str
    intent: str
    exchanges: tuple[Exchange, ...]
    end: End
    started_at: datetime
    ended_at: datetime

    @property
    def resolved(self) -> bool:
        """Whether the customer got what they came for."""
        return self.end == "resolved"

    @property
    def episode(self) -> str | None:
        """Return the last episode's external id; None when the agent never answered."""
        return next((turn.reply.episode for turn in reversed(self.exchanges) if turn.reply.episode), None)


@dataclass(frozen=True, slots=True)
class Customer:
    """One person with one need. `wordings` are tried in order; `row` is what the shop knows of their order."""

    subject: str
    intent: str
    answer: Answer
    wordings: tuple[Utterance, ...]
    order_id: str | None
    row: Mapping[str, Any]
    patience: int
    manner: Customers
    seed: int

    def satisfied_by(self, reply: Reply) -> bool:
        """Whether this reply is the end of it."""
        return satisfies(self.answer, self.row, reply)


class AgentEndpoint:
    """An agent's address. A connection that fails is tried again for a second; an agent that breaks is a reply."""

    def __init__(self, base_url: str, *, timeout_s: float = 30.0) -> None:
        self._http = httpx.Client(base_url=base_url, timeout=timeout_s, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def turn(self, messages: Sequence[Mapping[str, str]], **request: Any) -> Reply:
        """Send one turn; `request` holds the other keys of `POST /turn`. Raises httpx.TransportError in the end."""
        body = {"harness": None, "messages": list(messages), "user": "", "conversation": "", "seed": 0} | request
        answer = _sent(lambda: self._http.post("/turn", json=body))
        if not answer.is_success:
            return Reply("", error=f"HTTP {answer.status_code}: {answer.text[:200]}")
        facts = answer.json()
        output = facts["output"]
        return Reply(output["text"], bool(output["handoff"]), tuple(output["sources"]), facts.get("episode"))


def _sent(send: Callable[[], httpx.Response], *, again: frozenset[int] = frozenset()) -> httpx.Response:
    """Send, and send again after a short pause when the connection fails or the status is one of `again`."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            answer = send()
        except httpx.TransportError:
            if attempt == _ATTEMPTS:
                raise
        else:
            if answer.status_code not in again:
                return answer
        time.sleep(_PAUSE_S * attempt)
    return answer


def _chance(seed: int | str) -> random.Random:
    return random.Random(seed)


def satisfies(answer: Answer, row: Mapping[str, Any], reply: Reply) -> bool:
    """Whether a reply holds every fact, filled with the row, in any case and spacing; or hands off where it may."""
    if reply.handoff:
        return answer.handoff_ok
    text = _flat(reply.text)
    return bool(answer.facts) and all(_flat(fact) in text for fact in answer.facts_for(row))


def _flat(text: str) -> str:
    return " ".join(text.split()).casefold()


def population(scenario: Scenario, n: int, seed: int, *, pool: str = "live") -> Iterator[Customer]:
    """Yield n customers with needs drawn by the traffic's shares; equal seeds give equal customers."""
    wordings: dict[str, list[Utterance]] = {}
    for utterance in scenario.pool(pool):
        wordings.setdefault(utterance.intent, []).append(utterance)
    shares = {intent: share for intent, share in scenario.shares().items() if intent in wordings}
    chance = _chance(f"{pool} {seed}")
    for number in range(n):
        intent = chance.choices(list(shares), weights=list(shares.values()))[0]
        order_id, row = _own_order(scenario, scenario.answers[intent], chance)
        yield Customer(
            subject=f"customer-{seed}-{number}",
            intent=intent,
            answer=scenario.answers[intent],
            wordings=tuple(chance.sample(wordings[intent], len(wordings[intent]))),
            order_id=order_id,
            row=row,
            patience=chance.randint(*scenario.customers.patience),
            manner=scenario.customers,
            seed=chance.getrandbits(32),
        )


def _own_order(
    scenario: Scenario, answer: Answer, chance: random.Random, *, recorded: bool = False
) -> tuple[str | None, Mapping[str, Any]]:
    """Draw one row of the answer's tool (or of the first table, to have an order to name); `recorded` ones only."""
    tables = scenario.backend.tables
    tool = answer.tool or next(iter(tables), None)
    if tool is None:
        return None, {}
    table = tables[tool]
    known = {re.sub(r"\D", "", row_id) for row_id in scenario.recordings.get(tool, {})}
    ids = [row_id for row_id in sorted(table) if not recorded or re.sub(r"\D", "", row_id) in known]
    if not ids:
        return None, {}
    order_id = chance.choice(ids)
    return order_id, table[order_id] if answer.tool else {}


def converse(customer: Customer, agent: AgentEndpoint, conversation_id: str) -> Conversation:
    """Play the customer against the live agent until they are served, handed over, or have had enough."""
    chance = _chance(customer.seed)
    started_at = datetime.now(UTC)
    messages: list[dict[str, str]] = []
    exchanges: list[Exchange] = []
    wordings = iter(customer.wordings)
    message: str | None = _worded(customer, next(wordings), chance)
    end: End | None = None
    while message is not None:
        last_word, end = end, None
        messages.append({"role": "user", "content": message})
        reply = agent.turn(messages, user=customer.subject, conversation=conversation_id, seed=customer.seed)
        messages.append({"role": "assistant", "content": reply.text})
        exchanges.append(Exchange(message, reply))
        end = _ended(customer, reply) or last_word
        if end:
            break
        message, end = _reacted(customer, exchanges, wordings, chance)
    return Conversation(
        conversation_id,
        customer.subject,
        customer.intent,
        tuple(exchanges),
        end or "failed",
        started_at,
        datetime.now(UTC),
    )


def _reacted(
    customer: Customer, exchanges: Sequence[Exchange], wordings: Iterator[Utterance], chance: random.Random
) -> tuple[str | None, End | None]:
    """Return (what the customer says next, None to say nothing; how it ends if that was their last word)."""
    if _can_name_order(customer, exchanges):
        return f"My order is {customer.order_id}.", None
    reactions = customer.manner.reactions
    match chance.choices(list(reactions), weights=list(reactions.values()))[0]:
        case "leave":
            return None, "abandoned"
        case "complain":
            return chance.choice(_COMPLAINTS), "failed"
        case "ask_person":
            return chance.choice(_PERSON_REQUESTS), "escalated"
    utterance = next(wordings, None)
    if utterance is None or len(exchanges) >= customer.patience:
        return None, "failed"
    message = _worded(customer, utterance, chance)
    return f"{chance.choice(_FRUSTRATED)} {message}" if chance.random() < _FRUSTRATED_SHARE else message, None


def _ended(customer: Customer, reply: Reply) -> End | None:
    if customer.satisfied_by(reply):
        return "resolved"
    return "escalated" if reply.handoff else None


def _can_name_order(customer: Customer, exchanges: Sequence[Exchange]) -> bool:
    """Whether the agent just asked something that the customer's order number, not named so far, could answer."""
    if customer.answer.tool is None or customer.order_id is None or "?" not in exchanges[-1].reply.text:
        return False
    return not any(customer.order_id in exchange.message for exchange in exchanges)


def _worded(customer: Customer, utterance: Utterance, chance: random.Random) -> str:
    text = utterance.render(customer.order_id)
    return _with_typo(text, chance) if chance.random() < customer.manner.typo_rate else text


def _with_typo(text: str, chance: random.Random) -> str:
    """Swap two inner letters of one longer word; words with digits are copied with care."""
    words = text.split(" ")
    places = [place for place, word in enumerate(words) if len(word) >= _TYPO_LETTERS and word.isalpha()]
    if not places:
        return text
    place = chance.choice(places)
    word = words[place]
    cut = chance.randrange(1, len(word) - 2)
    words[place] = word[:cut] + word[cut + 1] + word[cut] + word[cut + 2 :]
    return " ".join(words)


def serve_customers(
    scenario: Scenario,
    agent_url: str,
    n: int,
    seed: int,
    *,
    concurrency: int = 4,
    pool: str = "live",
    on_progress: Callable[[int, int], None] | None = None,
) -> Generator[Conversation]:
    """Play n customers against the live agent and yield each conversation as it ends; calls `on_progress(done, n)`.

    Only a few are under way at once, so that closing the iterator stops the traffic.
    """
    people = population(scenario, n, seed, pool=pool)
    with AgentEndpoint(agent_url) as agent, ThreadPoolExecutor(concurrency) as threads:

        def start(customer: Customer) -> Future[Conversation]:
            return threads.submit(converse, customer, agent, f"{customer.subject}-{customer.seed:08x}")

        under_way = {start(customer) for customer in islice(people, 2 * concurrency)}
        done = 0
        while under_way:
            finished, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            under_way |= {start(customer) for customer in islice(people, len(finished))}
            for conversation in finished:
                done += 1
                if on_progress:
                    on_progress(done, n)
                yield conversation.result()


def report_outcomes(
    conversations: Iterable[Conversation], base_url: str, key: str, *, concurrency: int = 2
) -> tuple[int, list[str]]:
    """Post how each conversation ended, as the customer's system knows it; return (accepted, reasons of refusals).

    The outcome goes to the conversation's last episode. An episode not captured yet is asked for again, up to three
    seconds; a repeated report is the platform's to recognize.
    """
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=base_url.rstrip("/"), headers=headers, timeout=10.0, trust_env=False) as http:

        def post(conversation: Conversation) -> str | None:
            if conversation.episode is None:
                return f"conversation {conversation.id!r} has no episode"
            body = {
                "name": conversation.end,
                "source": "customer",
                "value": 1,
                "at": conversation.ended_at.isoformat(),
            }
            url = f"/api/v1/episodes/{conversation.episode}/outcomes"
            answer = _sent(lambda: http.post(url, json=body), again=frozenset({404, 429, 502, 503}))
            return (
                None if answer.is_success else f"{conversation.episode}: HTTP {answer.status_code} {answer.text[:200]}"
            )

        with ThreadPoolExecutor(concurrency) as threads:
            refusals = list(threads.map(post, conversations))
    reasons = [reason for reason in refusals if reason]
    return len(refusals) - len(reasons), reasons


@dataclass(frozen=True, slots=True)
class Metered:
    """One utterance played once against a document."""

    utterance: Utterance
    message: str
    reply: Reply
    resolved: bool


def meter(
    scenario: Scenario,
    utterances: Sequence[Utterance],
    document: Mapping[str, Any],
    agent: AgentEndpoint,
    *,
    tools: Literal["live", "recorded"] = "live",
    concurrency: int = 2,
) -> list[Metered]:
    """Play a single turn per utterance on the given document, in their order; nothing is reported to the platform.

    The order named in an utterance depends on its text alone, so two documents are measured on the same messages.
    """

    def play(utterance: Utterance) -> Metered:
        answer = scenario.answers[utterance.intent]
        seed = int.from_bytes(hashlib.sha256(utterance.text.encode()).digest()[:4])
        chance = _chance(seed)
        order_id, row = _own_order(scenario, answer, chance, recorded=tools == "recorded")
        message = utterance.render(order_id)
        said = [{"role": "user", "content": message}]
        reply = agent.turn(
            said, harness=document, user="meter", conversation=utterance.template, tools=tools, seed=seed
        )
        return Metered(utterance, message, reply, satisfies(answer, row, reply))

    with ThreadPoolExecutor(concurrency) as threads:
        return list(threads.map(play, utterances))
