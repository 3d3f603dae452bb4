"""Where the server cannot pack with LZ4, store steps as they are.

Packing them with pglz takes as long as all the rest of writing an episode, and saves half of its 5 KB.
"""

from django.db import migrations

UNPACKED = """
DO $$ BEGIN
  IF (SELECT attcompression FROM pg_attribute WHERE attrelid = 'episodes_episode'::regclass AND attname = 'steps') <> 'l' THEN
    ALTER TABLE episodes_episode ALTER COLUMN steps SET STORAGE EXTERNAL;
  END IF;
END $$
"""
PACKED = "ALTER TABLE episodes_episode ALTER COLUMN steps SET STORAGE EXTENDED"


class Migration(migrations.Migration):
    dependencies = [("episodes", "0009_traces_refused_when")]

    operations = [migrations.RunSQL(UNPACKED, PACKED)]
