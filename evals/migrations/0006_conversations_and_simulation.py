"""Cases that are conversations, and how like recorded users their simulated ones were found."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import accounts.ids
from audit.append_only import AppendOnly


class Migration(migrations.Migration):
    dependencies = [
        ("audit", "0002_append_only"),
        ("evals", "0005_playing_and_reuse"),
    ]

    operations = [
        migrations.AddField(
            model_name="case",
            name="conversation",
            field=models.JSONField(
                blank=True,
                db_default=models.Value({}, models.JSONField()),
                default=dict,
                help_text="How the user goes on: a script or a simulated user; empty for a single turn.",
            ),
        ),
        migrations.AddField(
            model_name="historicalcase",
            name="conversation",
            field=models.JSONField(
                blank=True,
                db_default=models.Value({}, models.JSONField()),
                default=dict,
                help_text="How the user goes on: a script or a simulated user; empty for a single turn.",
            ),
        ),
        migrations.AddField(
            model_name="runcase",
            name="conversation",
            field=models.JSONField(db_default=models.Value({}, models.JSONField()), default=dict),
        ),
        migrations.CreateModel(
            name="SimulationCalibration",
            fields=[
                ("id", models.UUIDField(default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                (
                    "manner_digest",
                    models.CharField(help_text="Names how the users behave, without what they want.", max_length=64),
                ),
                ("manner", models.JSONField(help_text="Who plays them, their patience, reactions, style and words.")),
                (
                    "harness_digest",
                    models.CharField(help_text="The version played, which served the recorded ones.", max_length=64),
                ),
                (
                    "verdict",
                    models.CharField(
                        choices=[
                            ("like", "Like recorded users"),
                            ("differs", "Differs from recorded users"),
                            ("undecided", "Undecided"),
                        ],
                        max_length=10,
                    ),
                ),
                ("sentence", models.TextField()),
                ("reading", models.JSONField(help_text="Every statistic's distance with its interval, and the sizes.")),
                ("tolerance", models.JSONField(help_text="How far they may be apart, as the policy had it.")),
                ("asked_by", models.CharField(blank=True, max_length=200)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "benchmark",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="simulation_calibrations",
                        to="evals.benchmark",
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
                "indexes": [models.Index(fields=["benchmark", "manner_digest", "-id"], name="simulation_newest")],
            },
        ),
        AppendOnly("evals_simulationcalibration"),
    ]
