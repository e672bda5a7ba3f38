"""Whether an adapter belongs to a base model, by what its manifest says."""

from collections.abc import Mapping
from typing import Any, Final

from mixsd.errors import ModelError, TemplateMismatchError
from mixsd.models.load import Base

_TEMPLATE: Final = "template_sha256"


def check_base(manifest: Mapping[str, Any], base: Base) -> None:
    """Refuse an adapter of another base model.

    Raises:
        ModelError: It was made for another model or revision, or does not say for which.
        TemplateMismatchError: It was made with another chat template.
    """
    wanted = {"id": base.id, "revision": base.revision}
    said = _said(manifest)
    for name, value in wanted.items():
        if said.get(name) != value:
            raise ModelError(
                f"the adapter was made for another base model: its {name} is {said.get(name)!r}, and that of "
                f"{base.id} here is {value!r}"
            )
    check_template(manifest, base)


def check_template(manifest: Mapping[str, Any], base: Base) -> None:
    """Refuse an adapter that learned other prompts than would be asked here.

    A manifest that names no chat template, which is an older one, is taken.

    Raises:
        TemplateMismatchError: It was made with another chat template.
    """
    made_with = _said(manifest).get(_TEMPLATE)
    if made_with is not None and made_with != base.template_sha256:
        raise TemplateMismatchError(
            f"the adapter was made with another chat template: its {_TEMPLATE} is {made_with}, and that of "
            f"{base.id} here is {base.template_sha256}: load the base model with the template that lies "
            "beside the adapter"
        )


def _said(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    said = manifest.get("base_model")
    return said if isinstance(said, dict) else {}
