"""Why a backup is not made, or not put back."""

from typing import ClassVar

from mixsd.errors import MixsdError


class BackupExistsError(MixsdError):
    """There is something where the backup was to be."""

    code: ClassVar[str] = "backup_exists"


class BackupDamagedError(MixsdError):
    """The backup is not what was written."""

    code: ClassVar[str] = "backup_damaged"


class BackupVersionError(MixsdError):
    """The backup belongs to another version of the schema."""

    code: ClassVar[str] = "backup_version"


class TargetNotEmptyError(MixsdError):
    """There are rows where the backup was to be put."""

    code: ClassVar[str] = "target_not_empty"
