"""What can go wrong with a corpus."""

from typing import ClassVar

from mixsd.errors import MixsdError


class CorpusError(MixsdError):
    """The corpus cannot be made: a size that there is not, or input that is no such data set."""

    code: ClassVar[str] = "bad_corpus"


class CorpusExistsError(CorpusError):
    """The folder holds something else."""

    code: ClassVar[str] = "corpus_exists"


class NoExtraError(CorpusError):
    """A package is needed that is not installed."""

    code: ClassVar[str] = "extra_missing"
