"""Paths as the routes see them."""

from starlette.types import Scope


def path_of(scope: Scope) -> str:
    """Return the path that the routes go by: without the one that the service is mounted at."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] if path == root or path.startswith(f"{root}/") else path
