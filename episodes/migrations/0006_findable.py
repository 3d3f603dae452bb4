"""Episodes are found by words and references, and accounted for."""

import django.contrib.postgres.indexes
import django.contrib.postgres.search
import django.db.models.deletion
from django.db import migrations, models

import episodes.querysets


class Migration(migrations.Migration):
    dependencies = [
        ("episodes", "0005_traces"),
        ("harness", "0002_append_only"),
    ]

    operations = [
        migrations.CreateModel(
            name="CaptureTally",
            fields=[
                (
                    "agent",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="tally",
                        serialize=False,
                        to="harness.agent",
                    ),
                ),
                ("recorded", models.PositiveBigIntegerField(default=0)),
                (
                    "signals_until",
                    models.UUIDField(help_text="Episodes up to this id were read for signals.", null=True),
                ),
                ("counted_at", models.DateTimeField(null=True)),
                ("captured", models.PositiveBigIntegerField(default=0)),
                ("analyzed", models.PositiveBigIntegerField(default=0)),
                ("pending", models.PositiveBigIntegerField(default=0)),
                ("failed", models.PositiveBigIntegerField(default=0)),
                (
                    "lag_p95_s",
                    models.FloatField(
                        help_text="Of the newest 1,000; one that waits counts with its age so far.", null=True
                    ),
                ),
            ],
            options={
                "ordering": ("agent",),
            },
        ),
        migrations.CreateModel(
            name="EpisodeText",
            fields=[
                (
                    "episode",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="words_said",
                        serialize=False,
                        to="episodes.episode",
                    ),
                ),
                ("words", django.contrib.postgres.search.SearchVectorField()),
            ],
            options={
                "ordering": ("-episode",),
            },
        ),
        migrations.RemoveIndex(
            model_name="episode",
            name="episode_waiting",
        ),
        migrations.RemoveIndex(
            model_name="episode",
            name="episode_uncommitted",
        ),
        migrations.AddField(
            model_name="episode",
            name="analysis_error",
            field=models.TextField(blank=True, db_default="", help_text="Why it could not be analyzed."),
        ),
        migrations.AddField(
            model_name="episode",
            name="analysis_failed_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddIndex(
            model_name="conversation",
            index=models.Index(
                condition=models.Q(("resolution", "open"), _negated=True),
                fields=["resolution", "id"],
                name="conversation_ended",
            ),
        ),
        migrations.AddIndex(
            model_name="episode",
            index=models.Index(
                condition=models.Q(("analysis_failed_at__isnull", True), ("understood_at__isnull", True)),
                fields=["agent", "id"],
                name="episode_waiting",
            ),
        ),
        migrations.AddIndex(
            model_name="episode",
            index=models.Index(
                condition=models.Q(("analysis_failed_at__isnull", False)),
                fields=["agent", "id"],
                name="episode_not_analyzed",
            ),
        ),
        migrations.AddIndex(
            model_name="episode",
            index=models.Index(
                condition=models.Q(("committed_at__isnull", True)),
                fields=["id"],
                include=("agent",),
                name="episode_uncommitted",
            ),
        ),
        migrations.AddIndex(
            model_name="episode",
            index=models.Index(fields=["agent", "id"], name="episode_of_agent"),
        ),
        migrations.AddIndex(
            model_name="episode",
            index=models.Index(
                condition=models.Q(("arm", ""), _negated=True), fields=["arm", "id"], name="episode_of_arm"
            ),
        ),
        migrations.AddIndex(
            model_name="episode",
            index=models.Index(
                condition=models.Q(("harness_digest", ""), _negated=True),
                fields=["harness_digest", "id"],
                name="episode_of_version",
            ),
        ),
        migrations.AddIndex(
            model_name="episode",
            index=django.contrib.postgres.indexes.GinIndex(
                django.contrib.postgres.indexes.OpClass(
                    episodes.querysets.RefValues("external_refs"), name="jsonb_path_ops"
                ),
                condition=models.Q(("external_refs", {}), _negated=True),
                name="episode_refs",
            ),
        ),
        migrations.AddConstraint(
            model_name="episode",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("analysis_error", ""), ("analysis_failed_at__isnull", True)),
                    models.Q(
                        ("analysis_failed_at__isnull", False),
                        ("understood_at__isnull", True),
                        models.Q(("analysis_error", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="episode_failed_with_reason",
            ),
        ),
        migrations.AddIndex(
            model_name="episodetext",
            index=django.contrib.postgres.indexes.GinIndex(fields=["words"], name="episode_words"),
        ),
        # What entered the record before it was counted there.
        migrations.RunSQL(
            "INSERT INTO episodes_capturetally (agent_id, recorded, captured, analyzed, pending, failed)"
            " SELECT agent_id, count(*), 0, 0, 0, 0 FROM episodes_episode"
            " WHERE committed_at IS NOT NULL GROUP BY agent_id",
            migrations.RunSQL.noop,
        ),
    ]
