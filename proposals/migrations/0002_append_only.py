"""Evidence and authorship only grow."""

from django.db import migrations

from audit.append_only import AppendOnly


class Migration(migrations.Migration):
    dependencies = [
        ("proposals", "0001_initial"),
        ("audit", "0002_append_only"),
    ]
    operations = [
        AppendOnly("proposals_evidence"),
        AppendOnly("proposals_author"),
    ]
