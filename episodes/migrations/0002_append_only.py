"""Steps, outcomes, signals and memberships of patterns only grow."""

from django.db import migrations

from audit.append_only import AppendOnly


class Migration(migrations.Migration):
    dependencies = [
        ("episodes", "0001_initial"),
        ("audit", "0002_append_only"),
    ]
    operations = [
        AppendOnly("episodes_step"),
        AppendOnly("episodes_outcome"),
        AppendOnly("episodes_signal"),
        AppendOnly("episodes_patternmember"),
    ]
