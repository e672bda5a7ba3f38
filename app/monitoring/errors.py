"""What can be wrong about a scrape."""

from typing import ClassVar

from app.errors import NotFoundError


class MetricsOffError(NotFoundError):
    code: ClassVar[str] = "metrics_off"

    def __init__(self) -> None:
        super().__init__("MIXSD_METRICS is off: this service shows no metrics")
