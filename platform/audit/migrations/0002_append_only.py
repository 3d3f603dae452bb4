"""The record only grows."""

from django.db import migrations

from audit.append_only import AppendOnly, guard_function


class Migration(migrations.Migration):
    dependencies = [
        ("audit", "0001_initial"),
    ]
    operations = [
        guard_function(),
        AppendOnly("audit_event"),
        AppendOnly("audit_seal"),
    ]
