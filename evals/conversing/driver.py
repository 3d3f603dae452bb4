"""Play a case: one turn, or a conversation turn by turn with its scripted or simulated user."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from episodes.turns import turns_of
from evals.conversing.model_user import ModelUser
from evals.conversing.persona import SimulatedUser
from evals.conversing.reading import Talk, talk_of
from evals.conversing.script import MAX_TURNS, Script
from evals.conversing.transcript import End, Exchange, Move, reply_of, turns_said
from evals.conversing.users import Chance, RuledUser, ScriptedUser, User, chance_of
from evals.runners import Played, Runner
from evals.scoring import Reply
from harness.models import Agent
from inference.client import AgentRef

__all__ = ["Playable", "converse", "reply_to"]


class Playable(Protocol):
    """What is played: a case, or what was frozen of it for a run."""

    @property
    def messages(self) -> Any: ...
    @property
    def user_state(self) -> Any: ...
    @property
    def conversation(self) -> Any: ...
    @property
    def cluster(self) -> str: ...
    @property
    def agent(self) -> Agent: ...


def converse(runner: Runner, document: Mapping[str, Any], case: Playable, seed: int) -> Played:
    """Play one trial of a case through any runner and return what came of all of it.

    A case of a single turn is one play of the runner. In a conversation messages grow by each reply and by what the
    user says to it, for at most `MAX_TURNS` replies; every turn gets the case's user state and the trial's seed. Steps
    carry their `turn`, times and prices are summed. The output is the last turn's, with everything said (`turns`),
    the user's unanswered last word (`closing`), all sources, `handoff` of any turn and `ended_by`. A crash in any turn
    is the trial's; `InfrastructureError` leaves the whole trial to be played anew.
    """
    talk = talk_of(case.conversation)
    if talk is None:
        return runner.play(document, case.messages, user_state=case.user_state, seed=seed)
    user = _user_of(talk, case, seed)
    messages = list(case.messages)
    said_before = _opening(messages)
    move, exchanges, turns = user.open(said_before), list[Exchange](), list[Played]()
    while move.ended_by is None:
        if len(turns) == MAX_TURNS:
            move = Move(ended_by="limit")
            break
        if turns or not said_before:
            messages.append({"role": "user", "content": move.say})
        played = runner.play(document, list(messages), user_state=case.user_state, seed=seed)
        turns.append(played)
        if played.crashed:
            return _crash(turns)
        exchanges.append(Exchange(move, reply_of(played.output, played.steps), played.latency_ms, played.cost_usd))
        messages.append({"role": "assistant", "content": exchanges[-1].reply.text})
        move = user.answer(exchanges)
    return _whole(turns, exchanges, move, talk)


def reply_to(case: Playable, output: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> Reply:
    """Return what came of a case as its scorers read it; the turns of a conversation are the driver's own word."""
    said = turns_said(output) if case.conversation else ()
    return Reply(output, steps, messages=[{"role": turn.role, "content": turn.text} for turn in said])


def _opening(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return what the user said last before the talk is played; empty when a reply to it is there already."""
    said = turns_of(list(messages[-1:]))
    return said[0].text if said and said[0].role == "user" else ""


def _user_of(talk: Talk, case: Playable, seed: int) -> User:
    if isinstance(talk, Script):
        return ScriptedUser(talk)
    chance = chance_of(seed, case.conversation, case.messages, case.cluster)
    return _simulated(talk, chance, case, seed)


def _simulated(persona: SimulatedUser, chance: Chance, case: Playable, seed: int) -> User:
    if persona.by == "rules":
        return RuledUser(persona, chance)
    return ModelUser(persona, chance, seed, AgentRef(agent_id=case.agent.pk, team_id=case.agent.team_id))


def _crash(turns: Sequence[Played]) -> Played:
    last = turns[-1]
    error = f"turn {len(turns)}: {last.error}" if len(turns) > 1 else last.error
    return replace(last, error=error, steps=_steps(turns), **_sums(turns))


def _whole(turns: Sequence[Played], exchanges: Sequence[Exchange], end: Move, talk: Talk) -> Played:
    last = turns[-1]
    sources = [source for played in turns for source in played.output.get("sources") or ()]
    output: dict[str, Any] = {
        **last.output,
        "text": exchanges[-1].reply.text,
        "turns": [exchange.as_mapping(number) for number, exchange in enumerate(exchanges, start=1)],
        "handoff": any(exchange.reply.handoff for exchange in exchanges),
        "sources": [source for place, source in enumerate(sources) if source not in sources[:place]],
        "ended_by": _end(end),
        "user": {"kind": talk.kind} | _played_by(talk, exchanges),
    }
    if end.say:
        output["closing"] = end.say
    return replace(last, output=output, steps=_steps(turns), **_sums(turns))


def _end(end: Move) -> End:
    assert end.ended_by is not None  # the loop ends by nothing else
    return end.ended_by


def _played_by(talk: Talk, exchanges: Sequence[Exchange]) -> dict[str, Any]:
    if isinstance(talk, Script):
        return {}
    flaws = [f"turn {turn}: {flaw}" for turn, one in enumerate(exchanges, start=1) for flaw in one.move.flaws]
    return {"by": talk.by} | ({"broke_character": flaws} if flaws else {})


def _steps(turns: Sequence[Played]) -> list[dict[str, Any]]:
    return [{**step, "turn": number} for number, played in enumerate(turns, start=1) for step in played.steps]


def _sums(turns: Sequence[Played]) -> dict[str, Any]:
    return {
        "latency_ms": sum(played.latency_ms for played in turns),
        "cost_usd": sum(played.cost_usd for played in turns),
    }
