"""Logs: structlog to stderr. Standard output is for data."""

import sys

import structlog


def configure(*, json: bool) -> None:
    """Set up the process's logs, once, from a composition root.

    Traces are plain: those with the values of variables take seconds to write, and show secrets.
    """
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    lines = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(lines if json else [plain]),
        ],
        logger_factory=_to_stderr,
        cache_logger_on_first_use=False,
    )


def _to_stderr(*_: object) -> structlog.WriteLogger:
    return structlog.WriteLogger(sys.stderr)
