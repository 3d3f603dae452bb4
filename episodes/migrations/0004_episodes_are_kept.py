"""Episodes keep what they said: PostgreSQL refuses to change or delete them, but for amendments that are written down."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import accounts.ids
from audit.append_only import AppendOnly

# The columns are those of episodes.content.CONTENT, with the digest; marks of progress (understood, committed) are free.
KEEP = """
CREATE OR REPLACE FUNCTION whetstone_episode_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.body_digest <> OLD.body_digest AND NEW.committed_at IS NULL AND NEW.id = OLD.id AND EXISTS (
    SELECT FROM episodes_episodeamendment AS a WHERE a.episode_id = OLD.id AND a.previous_digest = OLD.body_digest
      AND a.previous_committed_at IS NOT DISTINCT FROM OLD.committed_at
  ) THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'UPDATE on episodes_episode is refused: an episode is only amended, with its earlier content written down'
    USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER kept BEFORE UPDATE OF id, agent_id, conversation_id, external_id, input, output, steps, workflow, sources,
  usage, external_refs, attributes, harness_digest, release_ref, arm, weight, started_at, ended_at, captured_at, body_digest
  ON episodes_episode FOR EACH ROW
  WHEN ((OLD.id, OLD.agent_id, OLD.conversation_id, OLD.external_id, OLD.input, OLD.output, OLD.steps, OLD.workflow,
    OLD.sources, OLD.usage, OLD.external_refs, OLD.attributes, OLD.harness_digest, OLD.release_ref, OLD.arm, OLD.weight,
    OLD.started_at, OLD.ended_at, OLD.captured_at, OLD.body_digest)
    IS DISTINCT FROM
    (NEW.id, NEW.agent_id, NEW.conversation_id, NEW.external_id, NEW.input, NEW.output, NEW.steps, NEW.workflow,
    NEW.sources, NEW.usage, NEW.external_refs, NEW.attributes, NEW.harness_digest, NEW.release_ref, NEW.arm, NEW.weight,
    NEW.started_at, NEW.ended_at, NEW.captured_at, NEW.body_digest))
  EXECUTE FUNCTION whetstone_episode_kept();
CREATE TRIGGER append_only_delete BEFORE DELETE ON episodes_episode
  FOR EACH ROW EXECUTE FUNCTION whetstone_append_only();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON episodes_episode
  FOR EACH STATEMENT EXECUTE FUNCTION whetstone_append_only();
"""
RELEASE = """
DROP TRIGGER IF EXISTS kept ON episodes_episode;
DROP TRIGGER IF EXISTS append_only_delete ON episodes_episode;
DROP TRIGGER IF EXISTS append_only_truncate ON episodes_episode;
DROP FUNCTION IF EXISTS whetstone_episode_kept();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("episodes", "0003_steps_within_episodes"),
        ("audit", "0002_append_only"),
    ]

    operations = [
        migrations.CreateModel(
            name="EpisodeAmendment",
            fields=[
                ("id", models.UUIDField(default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("previous_content", models.JSONField()),
                ("previous_digest", models.CharField(max_length=64)),
                ("previous_committed_at", models.DateTimeField(null=True)),
                ("reason", models.CharField(max_length=300)),
                ("amended_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "episode",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="amendments", to="episodes.episode"
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("previous_committed_at__isnull", False)),
                        fields=["previous_committed_at"],
                        name="amendment_of_commitment",
                    )
                ],
                "constraints": [models.UniqueConstraint(fields=("episode", "previous_digest"), name="amended_once")],
            },
        ),
        AppendOnly("episodes_episodeamendment"),
        migrations.RunSQL(KEEP, RELEASE),
    ]
