"""Read by `manage.py rqcron jobs.cron`: one entry per line of `settings.SCHEDULE`."""

from functools import partial

from django.conf import settings
from rq import Queue, cron
from rq.serializers import JSONSerializer

from jobs.schedule import run_scheduled

__all__: list[str] = []

# RQ's cron enqueues with pickle whatever the queue is configured for; our workers read JSON only.
setattr(cron, "Queue", partial(Queue, serializer=JSONSerializer))  # noqa: B010  # the module does not export it

for _name, _interval_s in settings.SCHEDULE:
    cron.register(
        run_scheduled,
        queue_name="clock",
        args=(_name,),
        interval=_interval_s,
        job_timeout=max(60, 4 * _interval_s),
        result_ttl=0,
        ttl=2 * _interval_s,
        failure_ttl=60,
        name=_name,
    )
