"""Steps move into their episode, which they are always read with; wide JSON is packed with lz4, which is quicker."""

import django.db.models.deletion
from django.db import migrations, models

MOVE_STEPS = """
UPDATE episodes_episode AS e SET steps = s.steps FROM (
  SELECT episode_id, jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
    'kind', kind, 'name', name, 'attempt', attempt, 'input', input, 'output', output, 'status', status, 'error', error,
    'latency_ms', latency_ms)) ORDER BY position) AS steps
  FROM episodes_step GROUP BY episode_id
) AS s WHERE s.episode_id = e.id
"""

# A server built without lz4 keeps PostgreSQL's own packing.
PACK_WITH_LZ4 = """
DO $$ BEGIN
  ALTER TABLE episodes_episode
    ALTER COLUMN input SET COMPRESSION lz4, ALTER COLUMN output SET COMPRESSION lz4,
    ALTER COLUMN steps SET COMPRESSION lz4, ALTER COLUMN attributes SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN NULL;
END $$
"""


def _key(to: str, name: str) -> models.ForeignKey:
    return models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name=name, to=to)


class Migration(migrations.Migration):
    dependencies = [
        ("episodes", "0002_append_only"),
        ("harness", "0002_append_only"),
    ]

    operations = [
        migrations.AddField(
            "episode",
            "steps",
            models.JSONField(default=list, help_text="What happened inside, in order; see StepReading."),
        ),
        migrations.RunSQL(MOVE_STEPS, migrations.RunSQL.noop),
        migrations.RemoveConstraint("step", "step_once"),
        migrations.DeleteModel("Step"),
        migrations.AlterField("conversation", "agent", _key("harness.agent", "conversations")),
        migrations.AlterField("episode", "agent", _key("harness.agent", "episodes")),
        migrations.AlterField("episode", "conversation", _key("episodes.conversation", "episodes")),
        migrations.RunSQL(PACK_WITH_LZ4, migrations.RunSQL.noop),
    ]
