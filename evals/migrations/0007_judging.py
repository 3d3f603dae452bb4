"""Judges beside people: rubrics, verdicts, labels, calibrations; and the judge that each run fixes."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import accounts.ids
from audit.append_only import AppendOnly


class Migration(migrations.Migration):
    dependencies = [
        ("episodes", "0010_steps_unpacked"),
        ("audit", "0002_append_only"),
        ("evals", "0006_conversations_and_simulation"),
        ("harness", "0004_agents_runner"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="historicalrun",
            name="judge_digest",
            field=models.CharField(blank=True, editable=False, max_length=64),
        ),
        migrations.AddField(
            model_name="historicalrun",
            name="judge_model",
            field=models.CharField(blank=True, editable=False, max_length=200),
        ),
        migrations.AddField(
            model_name="historicalrun",
            name="judge_version",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                editable=False,
                help_text="The judge of rubrics, the same for both arms; none where no case has one.",
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="harness.harnessversion",
            ),
        ),
        migrations.AddField(
            model_name="result",
            name="judgment",
            field=models.JSONField(
                help_text="What the judge said: its digest, the rubric's, grade, rationale.", null=True
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="judge_digest",
            field=models.CharField(blank=True, editable=False, max_length=64),
        ),
        migrations.AddField(
            model_name="run",
            name="judge_model",
            field=models.CharField(blank=True, editable=False, max_length=200),
        ),
        migrations.AddField(
            model_name="run",
            name="judge_version",
            field=models.ForeignKey(
                blank=True,
                editable=False,
                help_text="The judge of rubrics, the same for both arms; none where no case has one.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="harness.harnessversion",
            ),
        ),
        migrations.CreateModel(
            name="JudgeRubric",
            fields=[
                ("id", models.UUIDField(default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("digest", models.CharField(help_text="Names everything a judge is told by it.", max_length=64)),
                ("name", models.CharField(max_length=120)),
                ("body", models.JSONField(help_text="Text, scale, anchors and pass mark.")),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "agent",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="judge_rubrics", to="harness.agent"
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="JudgeLabel",
            fields=[
                ("id", models.UUIDField(default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("grade", models.PositiveSmallIntegerField()),
                ("note", models.TextField(blank=True)),
                (
                    "source",
                    models.CharField(
                        choices=[("desk", "Labeled here"), ("import", "Imported")], default="desk", max_length=6
                    ),
                ),
                ("labeled_by_name", models.CharField(help_text="Whose judgment it is.", max_length=200)),
                ("is_simulated", models.BooleanField(default=False)),
                ("labeled_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "episode",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="%(class)ss",
                        to="episodes.episode",
                    ),
                ),
                (
                    "labeled_by",
                    models.ForeignKey(
                        help_text="Who answers for it.",
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "result",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="%(class)ss",
                        to="evals.result",
                    ),
                ),
                (
                    "rubric",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="%(class)ss", to="evals.judgerubric"
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="JudgeCalibration",
            fields=[
                ("id", models.UUIDField(default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("judge_digest", models.CharField(max_length=64)),
                ("num_labels", models.PositiveIntegerField()),
                ("num_clusters", models.PositiveIntegerField()),
                ("kappa", models.FloatField(null=True)),
                ("kappa_lower", models.FloatField(null=True)),
                ("kappa_upper", models.FloatField(null=True)),
                ("sensitivity_baseline", models.FloatField(null=True)),
                ("sensitivity_candidate", models.FloatField(null=True)),
                ("specificity_baseline", models.FloatField(null=True)),
                ("specificity_candidate", models.FloatField(null=True)),
                (
                    "table",
                    models.JSONField(
                        default=list, help_text="How many items people (rows) and the judge (columns) graded how."
                    ),
                ),
                ("measured_by", models.CharField(max_length=200)),
                ("measured_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "rubric",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="calibrations", to="evals.judgerubric"
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="JudgeVerdict",
            fields=[
                ("id", models.UUIDField(default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("grade", models.PositiveSmallIntegerField()),
                (
                    "judge_digest",
                    models.CharField(
                        help_text="Names the judge: its document, its model, how it is asked.", max_length=64
                    ),
                ),
                ("rationale", models.TextField(blank=True)),
                ("judged_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "episode",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="%(class)ss",
                        to="episodes.episode",
                    ),
                ),
                (
                    "result",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="%(class)ss",
                        to="evals.result",
                    ),
                ),
                (
                    "rubric",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="%(class)ss", to="evals.judgerubric"
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.AddConstraint(
            model_name="judgerubric",
            constraint=models.UniqueConstraint(fields=("agent", "digest"), name="judge_rubric_once"),
        ),
        migrations.AddConstraint(
            model_name="judgelabel",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("episode__isnull", True), ("result__isnull", False)),
                    models.Q(("episode__isnull", False), ("result__isnull", True)),
                    _connector="OR",
                ),
                name="judge_label_of_one_item",
            ),
        ),
        migrations.AddConstraint(
            model_name="judgelabel",
            constraint=models.UniqueConstraint(fields=("rubric", "result", "labeled_by_name"), name="judge_label_once"),
        ),
        migrations.AddConstraint(
            model_name="judgelabel",
            constraint=models.UniqueConstraint(
                fields=("rubric", "episode", "labeled_by_name"), name="judge_label_on_episode_once"
            ),
        ),
        migrations.AddIndex(
            model_name="judgecalibration",
            index=models.Index(fields=["rubric", "judge_digest", "-id"], name="judge_calibration_newest"),
        ),
        migrations.AddConstraint(
            model_name="judgeverdict",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("episode__isnull", True), ("result__isnull", False)),
                    models.Q(("episode__isnull", False), ("result__isnull", True)),
                    _connector="OR",
                ),
                name="judge_verdict_of_one_item",
            ),
        ),
        migrations.AddConstraint(
            model_name="judgeverdict",
            constraint=models.UniqueConstraint(fields=("rubric", "judge_digest", "result"), name="judge_verdict_once"),
        ),
        migrations.AddConstraint(
            model_name="judgeverdict",
            constraint=models.UniqueConstraint(
                fields=("rubric", "judge_digest", "episode"), name="judge_verdict_on_episode_once"
            ),
        ),
        AppendOnly("evals_judgerubric"),
        AppendOnly("evals_judgeverdict"),
        AppendOnly("evals_judgelabel"),
        AppendOnly("evals_judgecalibration"),
    ]
