"""Traces as exporters sent them, and which are due."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import accounts.ids
from audit.append_only import AppendOnly


class Migration(migrations.Migration):
    dependencies = [
        ("episodes", "0004_episodes_are_kept"),
        ("harness", "0002_append_only"),
    ]

    operations = [
        migrations.CreateModel(
            name="Trace",
            fields=[
                ("id", models.UUIDField(default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("trace_id", models.CharField(max_length=32)),
                (
                    "has_root",
                    models.BooleanField(
                        help_text="Whether a span without parent came, so that only stragglers are missing."
                    ),
                ),
                ("num_fragments", models.PositiveIntegerField(default=0)),
                ("first_at", models.DateTimeField()),
                ("last_at", models.DateTimeField()),
                (
                    "due_at",
                    models.DateTimeField(
                        help_text="When it is made into episodes; empty when nothing is new.", null=True
                    ),
                ),
                (
                    "error",
                    models.CharField(blank=True, help_text="Why it could not be made into episodes.", max_length=500),
                ),
                (
                    "agent",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="traces",
                        to="harness.agent",
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
                "indexes": [
                    models.Index(condition=models.Q(("due_at__isnull", False)), fields=["due_at"], name="trace_due")
                ],
                "constraints": [models.UniqueConstraint(fields=("agent", "trace_id"), name="trace_once")],
            },
        ),
        migrations.CreateModel(
            name="TraceFragment",
            fields=[
                ("id", models.UUIDField(default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("trace_id", models.CharField(max_length=32)),
                ("body", models.BinaryField(help_text="episodes.otlp.spans.dump_fragment")),
                ("received_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "agent",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="harness.agent",
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
                "indexes": [models.Index(fields=["agent", "trace_id"], name="fragment_of_trace")],
            },
        ),
        AppendOnly("episodes_tracefragment"),
    ]
