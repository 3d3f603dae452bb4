"""Exposures and ticks only grow."""

from django.db import migrations

from audit.append_only import AppendOnly


class Migration(migrations.Migration):
    dependencies = [
        ("releases", "0001_initial"),
        ("audit", "0002_append_only"),
    ]
    operations = [
        AppendOnly("releases_exposure"),
        AppendOnly("releases_guardtick"),
    ]
