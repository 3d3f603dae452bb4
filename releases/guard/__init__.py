"""Watch a live release and say, at every matured episode, whether it harms.

`tick` reads the whole verdict from observations alone: no clock, no stored state, the same numbers to the last digit
whenever it is replayed. `Guard` is the same reading fed one observation at a time.
"""

from releases.guard.forecast import Forecast, detection_users, forecast, promotion_users
from releases.guard.observations import Exposure, Observation
from releases.guard.tick import Guard, GuardReading, GuardStatus, tick

__all__ = [
    "Exposure",
    "Forecast",
    "Guard",
    "GuardReading",
    "GuardStatus",
    "Observation",
    "detection_users",
    "forecast",
    "promotion_users",
    "tick",
]
