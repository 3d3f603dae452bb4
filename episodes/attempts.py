"""Finds how the newest runs of an agent went that checked themselves: what first-pass and final success are counted of."""

import json

from django.db import connection

from episodes.detectors.attempts import Attempts, attempts_of
from harness.models import Agent

__all__ = ["LOOKED_AT", "newest_attempts"]

LOOKED_AT = 2_000
NEWEST = 500

# Of each step only what tells of attempts: what checks were given may be large.
_ATTEMPTS = """
SELECT e.attributes -> 'iteration', (
  SELECT coalesce(jsonb_agg(jsonb_build_object(
    'kind', s -> 'kind', 'name', s -> 'name', 'attempt', coalesce(s -> 'attempt', '1'),
    'output', jsonb_build_object('passed', s #> '{output,passed}')) ORDER BY position), '[]')
  FROM jsonb_array_elements(e.steps) WITH ORDINALITY AS listed (s, position)
  WHERE s ->> 'kind' = 'check' OR s ? 'attempt')
FROM (SELECT id, steps, attributes FROM episodes_episode WHERE agent_id = %s ORDER BY id DESC LIMIT %s) e
WHERE e.attributes ? 'iteration'
  OR e.steps @? '$[*] ? (@.kind == "check" && (@.output.passed == true || @.output.passed == false))'
ORDER BY e.id DESC LIMIT %s
"""


def newest_attempts(agent: Agent, *, newest: int = NEWEST) -> list[Attempts]:
    """Return how the agent's newest runs with attempts went, newest first, among its last `LOOKED_AT` episodes."""
    with connection.cursor() as cursor:
        cursor.execute(_ATTEMPTS, [agent.pk, LOOKED_AT, newest])
        rows = cursor.fetchall()
    read = (attempts_of(json.loads(steps), json.loads(iteration or "null")) for iteration, steps in rows)
    return [attempts for attempts in read if attempts is not None]
