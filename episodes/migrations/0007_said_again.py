"""An episode may be amended to what it said before; the row of the earlier amendment is no longer the only one of it."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("episodes", "0006_findable"),
    ]

    operations = [
        migrations.RemoveConstraint(model_name="episodeamendment", name="amended_once"),
    ]
