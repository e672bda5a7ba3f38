"""Failures that the library expects. All survive pickling: arguments only, no custom state."""

from typing import ClassVar


class MixsdError(Exception):
    """Base of every expected failure. `code` is stable and is shown to users.

    `category` says who can do something about it: `user`, `system` or `capacity`.
    """

    code: ClassVar[str] = "mixsd"
    category: ClassVar[str] = "user"
    retryable: ClassVar[bool] = False


class ConfigError(MixsdError, ValueError):
    """A setting is out of bounds."""

    code: ClassVar[str] = "bad_setting"


class NoSupervisionError(MixsdError):
    """Not one fact got a text to train on."""

    code: ClassVar[str] = "no_supervision"


class NothingToLearnError(MixsdError):
    """The base model answers every fact already, and known ones are left out."""

    code: ClassVar[str] = "nothing_to_learn"


class PromptTooLongError(MixsdError):
    """The expert prompt leaves no room for an answer."""

    code: ClassVar[str] = "prompt_too_long"


class ModelError(MixsdError):
    """The base model cannot be used."""

    code: ClassVar[str] = "bad_model"


class ModelNotFoundError(ModelError):
    """There is no such model, or it cannot be reached."""

    code: ClassVar[str] = "model_not_found"


class LicenceRequiredError(ModelNotFoundError):
    """The hub gives the model only to those who have accepted its licence."""

    code: ClassVar[str] = "license_required"


class HubRefusedError(ModelNotFoundError):
    """The hub does not give the model to whom the token belongs, or takes it for none."""

    code: ClassVar[str] = "hub_refused"


class HubUnreachableError(ModelNotFoundError):
    """The model is not on disk, and the hub does not answer."""

    code: ClassVar[str] = "hub_unreachable"
    category: ClassVar[str] = "system"
    retryable: ClassVar[bool] = True


class ModelNotAllowedError(ModelError):
    """The id is malformed, or the operator does not allow it."""

    code: ClassVar[str] = "model_not_allowed"


class NoChatTemplateError(ModelError):
    """The tokenizer has no chat template, so prompts cannot be written."""

    code: ClassVar[str] = "no_chat_template"


class TemplateMismatchError(ModelError):
    """The adapter was made with another chat template than the base model has here."""

    code: ClassVar[str] = "template_mismatch"


class BadMessagesError(MixsdError):
    """The chat template of the model takes no such conversation."""

    code: ClassVar[str] = "bad_messages"


class UnsafeWeightsError(ModelError):
    """The weights come in a format that can run code. Only safetensors are read."""

    code: ClassVar[str] = "unsafe_weights"


class UnsuitedModelError(MixsdError):
    """The fast decoder cannot run this model. Never reaches a user: the plain one takes its place."""

    code: ClassVar[str] = "unsuited_model"


class DivergedError(MixsdError):
    """The loss is no longer finite."""

    code: ClassVar[str] = "training_diverged"


class OutOfMemoryError(MixsdError):
    """The device is too small for this model and batch."""

    code: ClassVar[str] = "out_of_memory"
    category: ClassVar[str] = "capacity"
    retryable: ClassVar[bool] = True


class ProcessLostError(MixsdError):
    """One of several processes that train together ended, or does not answer."""

    code: ClassVar[str] = "process_lost"
    category: ClassVar[str] = "system"
    retryable: ClassVar[bool] = True


class DiskFullError(MixsdError):
    """There is no room left to write to."""

    code: ClassVar[str] = "disk_full"
    category: ClassVar[str] = "capacity"
    retryable: ClassVar[bool] = True


class CorruptError(MixsdError):
    """A file is not what its digest says."""

    code: ClassVar[str] = "corrupt_file"
    category: ClassVar[str] = "system"
    retryable: ClassVar[bool] = True
