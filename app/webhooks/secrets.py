"""Secrets of webhooks, as Standard Webhooks has them: `whsec_` and 256 random bits in base64."""

import base64
import secrets

PREFIX = "whsec_"


def new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
