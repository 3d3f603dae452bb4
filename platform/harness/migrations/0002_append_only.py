"""Versions are immutable."""

from django.db import migrations

from audit.append_only import AppendOnly


class Migration(migrations.Migration):
    dependencies = [
        ("harness", "0001_initial"),
        ("audit", "0002_append_only"),
    ]
    operations = [
        AppendOnly("harness_harnessversion"),
        AppendOnly("harness_objectiveversion"),
        AppendOnly("harness_policyversion"),
    ]
