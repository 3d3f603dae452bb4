"""What was said and done in captured conversations, read for what cases of them should expect."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from episodes.models import Conversation, CorrectedEpisode, Episode, Flag, Signal
from evals.expecting import Corrected, Lived, Usual

__all__ = ["MIN_USUAL", "USUAL_SHARE", "Facts", "corrected_of", "lived_of", "usual_of"]

# What resolved conversations of an intent mostly do is a proposal from this many of them on, when most agree.
MIN_USUAL = 3
USUAL_SHARE = 0.6


class Facts:
    """What was said and done in some conversations, read with a query a table."""

    def __init__(self, episodes: Mapping[UUID, list[Episode]]) -> None:
        self.episodes = episodes
        ids = [episode.pk for own in episodes.values() for episode in own]
        self._flags: dict[UUID, set[str]] = defaultdict(set)
        for episode_id, reason in Flag.objects.filter(episode_id__in=ids).values_list("episode_id", "reason"):
            self._flags[episode_id].add(reason)
        covers = CorrectedEpisode.objects.filter(episode_id__in=ids).select_related("correction").order_by("id")
        # The newest correction of an episode speaks.
        self._covers = {cover.episode_id: cover for cover in covers}
        said_again = Signal.objects.filter(episode_id__in=ids, kind=Signal.Kind.REPHRASE)
        self._rephrased = set(said_again.values_list("episode_id", flat=True))

    @classmethod
    def of(cls, rows: Iterable[Conversation]) -> "Facts":
        conversations = {row.pk: row for row in rows}
        episodes: dict[UUID, list[Episode]] = {key: [] for key in conversations}
        for episode in Episode.objects.filter(conversation_id__in=conversations).order_by("started_at", "id"):
            episode.conversation = conversations[episode.conversation_id]
            episodes[episode.conversation_id].append(episode)
        return cls(episodes)

    def lived(self, row: Conversation) -> list[Lived]:
        """Return what is known of each episode of a conversation, oldest first."""
        return [self._lived(row, episode) for episode in self.episodes[row.pk]]

    def is_rephrased(self, row: Conversation) -> bool:
        return any(episode.pk in self._rephrased for episode in self.episodes[row.pk])

    def correction_of(self, episode: Episode) -> UUID | None:
        cover = self._covers.get(episode.pk)
        return None if cover is None else cover.correction_id

    def _lived(self, row: Conversation, episode: Episode) -> Lived:
        cover = self._covers.get(episode.pk)
        return Lived(
            output_text=episode.output_text,
            handed_off=isinstance(episode.output, dict) and bool(episode.output.get("handoff")),
            steps=episode.step_readings(), sources=_sources_of(episode), user_texts=episode.user_texts(),
            resolution=row.resolution, resolution_source=row.resolution_source, flags=frozenset(self._flags[episode.pk]),
            correction=None if cover is None else corrected_of(cover),
        )  # fmt: skip


def corrected_of(cover: CorrectedEpisode) -> Corrected:
    """Return what a correction says of one of its episodes."""
    said = cover.correction
    return Corrected(
        answer=said.answer, tool=said.tool, arguments={**said.arguments, **cover.arguments},
        should_escalate=said.should_escalate,
    )  # fmt: skip


def lived_of(episode: Episode) -> Lived:
    """Return what is known of one captured episode; its conversation must be loaded."""
    facts = Facts({episode.conversation_id: [episode]})
    return facts.lived(episode.conversation)[0]


def _sources_of(episode: Episode) -> list[str]:
    """Return the ids of what the reply cites: what its output says, else what the episode names."""
    told = episode.output.get("sources") if isinstance(episode.output, dict) else None
    named = told if isinstance(told, list) and told else episode.sources
    found = [one.get("id") if isinstance(one, dict) else one for one in (named if isinstance(named, list) else [])]
    return list(dict.fromkeys(one for one in found if isinstance(one, str) and one))


def usual_of(lived: Iterable[Sequence[Lived]]) -> Usual:
    """Return what most resolved conversations of an intent cite or call."""
    cited, called, number = Counter[str](), Counter[str](), 0
    for readings in lived:
        if readings and readings[0].resolution == "resolved" and readings[0].resolution_source not in ("", "agent"):
            number += 1
            cited.update({source for one in readings for source in one.sources[:1]})
            called.update({s.name for one in readings for s in one.steps if s.kind == "tool_call" and not s.has_failed})
    for counts, name in ((cited, "source"), (called, "tool")):
        for value, count in counts.most_common(1):
            if value and number >= MIN_USUAL and count >= USUAL_SHARE * number:
                return Usual(**{name: value}, count=count, of=number)
    return Usual()
