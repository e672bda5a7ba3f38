"""What can go wrong with a benchmark."""

from typing import ClassVar

from mixsd.errors import MixsdError


class BenchmarkError(MixsdError):
    """A benchmark cannot be run as it was asked for."""

    code: ClassVar[str] = "bad_benchmark"


class BenchmarkDataError(BenchmarkError):
    """The data cannot be had, or are not those of the benchmark."""

    code: ClassVar[str] = "bad_benchmark_data"


class NoBenchmarkExtraError(BenchmarkError):
    """A package is needed that is not installed."""

    code: ClassVar[str] = "extra_missing"
