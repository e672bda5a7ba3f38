"""Which of several media types a client wants."""

from collections.abc import Sequence


def preferred(accept: str, offered: Sequence[str]) -> str:
    """Return the type of `offered` that an `Accept` header likes best, the first one in doubt.

    What a client says of a type by name counts more than what it says of `text/*` or `*/*`. One that
    wants nothing of what there is gets the first: that says more than a refusal.

    Example:
        >>> offered = ["application/json", "text/event-stream"]
        >>> [preferred(a, offered) for a in ("", "*/*", "text/event-stream", "text/*")]
        ['application/json', 'application/json', 'text/event-stream', 'text/event-stream']
        >>> preferred("text/event-stream;q=0.5, application/json;q=0.9", offered)
        'application/json'
    """
    ranges = dict(_range(part) for part in accept.lower().split(",") if part.strip())

    def liked(kind: str) -> float:
        for each in (kind, f"{kind.partition('/')[0]}/*", "*/*"):
            if each in ranges:
                return ranges[each]
        return 0.0

    return max(offered, key=liked)  # of equals the first


def _range(part: str) -> tuple[str, float]:
    kind, *parameters = [piece.strip() for piece in part.split(";")]
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return kind, _quality(value)
    return kind, 1.0


def _quality(value: str) -> float:
    try:
        return min(max(float(value), 0.0), 1.0)
    except ValueError:
        return 0.0
