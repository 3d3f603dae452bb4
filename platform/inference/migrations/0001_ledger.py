from decimal import Decimal

import django.utils.timezone
from django.db import migrations, models

import accounts.ids
from audit.append_only import AppendOnly


class Migration(migrations.Migration):
    """Create the ledger of model calls; its rows are never changed."""

    initial = True

    dependencies = [("audit", "0002_append_only")]

    operations = [
        migrations.CreateModel(
            name="LedgerEntry",
            fields=[
                ("id", models.UUIDField(default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                (
                    "at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, editable=False, help_text="When the request ended."
                    ),
                ),
                ("call_id", models.UUIDField(editable=False)),
                ("attempt", models.PositiveSmallIntegerField(default=1)),
                ("agent_id", models.UUIDField(blank=True, help_text="The agent this was asked for.", null=True)),
                ("team_id", models.UUIDField(blank=True, null=True)),
                ("role", models.CharField(help_text="Who asked: critic, proposer, judge, …", max_length=60)),
                ("purpose", models.CharField(help_text="What for, as entity.action.", max_length=120)),
                ("source", models.CharField(help_text="Who answered: the host of the endpoint.", max_length=255)),
                ("model", models.CharField(help_text="The model asked for.", max_length=200)),
                (
                    "provider_model",
                    models.CharField(blank=True, help_text="The model the provider says answered.", max_length=200),
                ),
                ("input_tokens", models.PositiveIntegerField(default=0)),
                ("output_tokens", models.PositiveIntegerField(default=0)),
                (
                    "is_estimated",
                    models.BooleanField(
                        default=False,
                        help_text="The endpoint reported no usage; tokens are counted as four characters each.",
                    ),
                ),
                ("cost_usd", models.DecimalField(decimal_places=9, default=Decimal(0), max_digits=16)),
                ("latency_ms", models.PositiveIntegerField(default=0)),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("answered", "Answered"),
                            ("invalid", "Answer did not fit"),
                            ("refused", "Model refused"),
                            ("timed_out", "Timed out"),
                            ("failed", "Failed"),
                        ],
                        max_length=20,
                    ),
                ),
                (
                    "error",
                    models.CharField(
                        blank=True, help_text="The class of the error and its HTTP status.", max_length=120
                    ),
                ),
            ],
            options={
                "verbose_name": "ledger entry",
                "verbose_name_plural": "ledger entries",
                "ordering": ("-id",),
                "indexes": [
                    models.Index(fields=["at"], include=("cost_usd",), name="ledger_at"),
                    models.Index(fields=["agent_id", "-id"], name="ledger_agent"),
                    models.Index(fields=["team_id", "-id"], name="ledger_team"),
                ],
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("cost_usd__gte", 0)), name="ledger_cost_not_negative"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("error", ""), ("outcome", "answered")),
                            models.Q(
                                models.Q(("outcome", "answered"), _negated=True), models.Q(("error", ""), _negated=True)
                            ),
                            _connector="OR",
                        ),
                        name="ledger_error_names_failure",
                    ),
                ],
            },
        ),
        AppendOnly("inference_ledgerentry"),
    ]
