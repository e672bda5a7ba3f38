"""The secret that the inference process asks for: in a file that API and process share."""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import uuid4

FILE: Final = "inference.token"


def shared_token(data_dir: Path) -> str:
    """Return the secret of a data folder. Whoever asks first makes it, readable by its owner alone.

    Raises:
        OSError: It can be neither read nor written.
    """
    path = data_dir / FILE
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        draft = data_dir / f".{FILE}.{uuid4().hex}"
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(32))
        with suppress(FileExistsError):  # another process was quicker
            os.link(draft, path)
        draft.unlink()
    return path.read_text().strip()
