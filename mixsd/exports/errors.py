"""What can go wrong with an export."""

from typing import ClassVar

from mixsd.errors import MixsdError


class ConverterMissingError(MixsdError):
    """There is no llama.cpp on this machine that writes GGUF."""

    code: ClassVar[str] = "converter_missing"
    category: ClassVar[str] = "system"
    retryable: ClassVar[bool] = True


class NotExportableError(MixsdError):
    """The format cannot hold this adapter."""

    code: ClassVar[str] = "not_exportable"


class ConversionError(MixsdError):
    """The converter ended with an error, or wrote nothing."""

    code: ClassVar[str] = "conversion_failed"
