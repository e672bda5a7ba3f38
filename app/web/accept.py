"""Which of several forms an answer should have, by the header `Accept` (RFC 9110, section 12.5.1)."""

from collections.abc import Sequence


def preferred(accept: str, offered: Sequence[str]) -> str:
    """Return the media type of `offered` that a client likes best; the first if it likes none.

    Example:
        >>> offered = ["application/json", "text/html"]
        >>> preferred("text/html,application/xhtml+xml,*/*;q=0.8", offered)
        'text/html'
        >>> preferred("*/*", offered), preferred("image/png", offered)
        ('application/json', 'application/json')
        >>> preferred("text/*;q=0.5, application/json;q=0.4", offered)
        'text/html'
    """
    ranges = [_parsed(part) for part in accept.split(",") if part.strip()]
    liked = [(_quality(media_type, ranges), -place) for place, media_type in enumerate(offered)]
    best, place = max(liked, default=(0.0, 0))
    return offered[-place] if best > 0 else offered[0]


def _parsed(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip() for piece in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "q":
            try:
                quality = min(1.0, max(0.0, float(value)))
            except ValueError:
                quality = 0.0
    return name.lower(), quality


def _quality(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Return what the most exact range that fits says."""
    kind = media_type.partition("/")[0]
    for wanted in (media_type, f"{kind}/*", "*/*"):
        for name, quality in ranges:
            if name == wanted:
                return quality
    return 0.0
