"""Checks of settings. Each names the setting, what it may be and what it was."""

from mixsd.errors import ConfigError


def within(name: str, value: float, low: float, high: float) -> None:
    """Refuse what is not in [low, high].

    Raises:
        ConfigError: It is not.
    """
    if not low <= value <= high:
        raise ConfigError(f"{name} must be in [{low}, {high}], got {value}")


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse what is none of the values allowed.

    Raises:
        ConfigError: It is none.
    """
    if value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
