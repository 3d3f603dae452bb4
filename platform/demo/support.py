"""What the support staff does: read failed conversations, and write down what should have happened."""

import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Literal

from demo.exam import order_in
from demo.scenario import Scenario
from demo.staff import Person

__all__ = ["CorrectionWork", "correct_failures"]

type Manner = Literal["right", "none", "shuffled"]
MIN_EPISODES = 3
MAX_EPISODES = 14


@dataclass(frozen=True)
class _Content:
    """What a support agent would write about one episode: the answer, or the right call of a tool."""

    title: str = ""
    answer: str = ""
    tool: str = ""
    argument: str = ""
    value: str = ""


@dataclass
class CorrectionWork:
    """How much people worked: acts, and episodes those acts covered."""

    acts: int = 0
    episodes: int = 0
    done: set[str] = field(default_factory=set)


def correct_failures(
    support: Person, scenario: Scenario, patterns: list[dict[str, Any]], wants: dict[str, str], work: CorrectionWork,
    *, manner: Manner, seed: int,
) -> None:  # fmt: skip
    """Go through the open patterns and correct their episodes, one act for all that want the same.

    A shuffled manner gives every episode somebody else's correction: work of the same amount and no sense.
    """
    if manner == "none":
        return
    contents: list[tuple[str, _Content]] = []
    for pattern in patterns:
        for episode in support.all("/episodes", pattern=pattern["id"]):
            want = wants.get(episode["conversation"])
            if episode["id"] in work.done or want is None:
                continue
            content = _content(scenario, want, pattern["layer"], episode)
            if content is not None:
                contents.append((episode["id"], content))
    if manner == "shuffled":
        shuffled = [content for _, content in contents]
        random.Random(seed).shuffle(shuffled)
        contents = [(covered, content) for (covered, _), content in zip(contents, shuffled, strict=True)]
    groups: dict[tuple[str, str, str], list[tuple[str, _Content]]] = defaultdict(list)
    for covered, content in contents:
        groups[content.title, content.answer, content.tool].append((covered, content))
    for group in groups.values():
        if len(group) >= MIN_EPISODES:
            _act(support, scenario, group[:MAX_EPISODES], work)


def _content(scenario: Scenario, want: str, layer: str, episode: dict[str, Any]) -> _Content | None:
    answer = scenario.answers[want]
    if layer == "tools":
        found = order_in(scenario, str(episode["opening"]))
        if answer.tool is None or found is None:
            return None
        schema = scenario.harness["tools"][found[0]]["parameters"]
        return _Content(tool=found[0], argument=next(iter(schema["required"])), value=found[1])
    if answer.tool is not None:
        return None
    return _Content(title=answer.title, answer=answer.text)


def _act(support: Person, scenario: Scenario, group: list[tuple[str, _Content]], work: CorrectionWork) -> None:
    content = group[0][1]
    body: dict[str, Any] = {
        "agent": scenario.agent_slug,
        "episodes": [episode for episode, _ in group],
        "title": content.title,
        "answer": content.answer,
        "tool": content.tool,
    }
    if content.tool:
        body["per_episode_arguments"] = {episode: {one.argument: one.value} for episode, one in group}
    support.post("/corrections", body)
    work.acts += 1
    work.episodes += len(group)
    work.done |= {episode for episode, _ in group}
