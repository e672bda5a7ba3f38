"""Why something cannot be analysed."""

from typing import ClassVar

from mixsd.errors import MixsdError


class NotAnalysableError(MixsdError):
    """The folder is no run, or holds nothing that this analysis could be made of."""

    code: ClassVar[str] = "not_analysable"
