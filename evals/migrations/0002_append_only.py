"""Results, frozen cases and curation trials only grow."""

from django.db import migrations

from audit.append_only import AppendOnly


class Migration(migrations.Migration):
    dependencies = [
        ("evals", "0001_initial"),
        ("audit", "0002_append_only"),
    ]
    operations = [
        AppendOnly("evals_result"),
        AppendOnly("evals_runcase"),
        AppendOnly("evals_curationtrial"),
    ]
