"""What can go wrong with webhooks. What is wrong with a URL: `app.webhooks.addresses`."""

from typing import ClassVar

from app.errors import ConflictError, NotFoundError


class WebhookNotFoundError(NotFoundError):
    code: ClassVar[str] = "webhook_not_found"

    def __init__(self, webhook_id: str) -> None:
        super().__init__(f"there is no webhook {webhook_id}")


class DeliveryNotFoundError(NotFoundError):
    code: ClassVar[str] = "delivery_not_found"

    def __init__(self, delivery_id: str) -> None:
        super().__init__(f"there is no delivery {delivery_id}")


class WebhookDisabledError(ConflictError):
    code: ClassVar[str] = "webhook_disabled"

    def __init__(self, webhook_id: str) -> None:
        super().__init__(f'webhook {webhook_id} is disabled: enable it first, with {{"enabled": true}}')


class WebhookLimitError(ConflictError):
    code: ClassVar[str] = "webhook_limit"

    def __init__(self, limit: int) -> None:
        super().__init__(f"a project has at most {limit} webhooks: delete one that is not needed")
