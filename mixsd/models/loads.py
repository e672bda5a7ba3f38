"""Whether the library can load a base model. Only here, late, is transformers loaded."""

from pathlib import Path

from mixsd.errors import ModelError, NoChatTemplateError


def check_loads(folder: Path) -> None:
    """Check that the library knows the architecture, and that prompts can be written.

    Loads the tokenizer but no weights.

    Raises:
        NoChatTemplateError: There is no chat template.
        ModelError: The tokenizer is not fast, or it is no causal language model that we know.
    """
    from transformers import AutoConfig, AutoTokenizer  # noqa: PLC0415  slow
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES  # noqa: PLC0415  slow

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(f"config or tokenizer cannot be read: {str(error)[:300]}") from error
    known = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
    if not known.intersection(config.architectures or ()):
        raise ModelError(f"{config.architectures} is no causal language model")
    if not tokenizer.is_fast:
        raise ModelError("there is no fast tokenizer (tokenizer.json)")
    if not tokenizer.chat_template:
        raise NoChatTemplateError("the tokenizer has no chat template: use the instruction-tuned model")
    if tokenizer.eos_token_id is None:
        raise ModelError("the tokenizer names no eos token, so no answer would end")
