"""What can go wrong with a conversion as a whole."""

from typing import ClassVar

from mixsd.errors import MixsdError


class ConversionError(MixsdError):
    """The file cannot be converted: its form is not known, or something beside its records is wrong."""

    code: ClassVar[str] = "bad_source"


class NoGraphsError(ConversionError):
    """A package is needed that is not installed."""

    code: ClassVar[str] = "extra_missing"
