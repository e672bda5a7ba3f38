"""The manifest and the card of an export. Loads no torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mixsd.models.check import read_object
from mixsd.packaging import CARD, LEDGER, MANIFEST, PackagedFile, files_in, versions

_SHIPPED: Final = (LEDGER,)
_LOADING: Final = {
    "merged": """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("folder/of/this/file")
tokenizer = AutoTokenizer.from_pretrained("folder/of/this/file")
```""",
    "gguf": "```bash\nllama-server -m model.gguf --jinja\n```",
    "gguf_lora": "```bash\nllama-server -m BASE.gguf --lora adapter.gguf --jinja\n```\n\n"
    "`BASE.gguf` is a GGUF of the base model at that very revision.",
}
_RELATION: Final = {"merged": "finetune", "gguf": "quantized", "gguf_lora": "adapter"}
_LIBRARY: Final = {"merged": "transformers", "gguf": "gguf", "gguf_lora": "gguf"}


def finish_package(
    target: Path,
    *,
    package: Path,
    adapter: Mapping[str, Any],
    form: str,
    dtype: str,
    parity: Mapping[str, Any],
    created_at: str,
) -> list[PackagedFile]:
    """Put card, ledger and manifest beside what was written; return all files, by name.

    Args:
        target: Folder of the export.
        package: That of the adapter.
        adapter: What names it: its id, and the sha256 of its manifest.
        form: The format.
        dtype: Type of the weights.
        parity: The certificate.
        created_at: Written into the manifest as it is.
    """
    made_from = read_object(package / MANIFEST)
    base = made_from.get("base_model", {})
    for name in _SHIPPED:
        (target / name).write_bytes((package / name).read_bytes())
    (target / CARD).write_text(card(base, form=form, dtype=dtype, parity=parity), encoding="utf-8")
    manifest = {
        "adapter": dict(adapter),
        "base_model": base,
        "created_at": created_at,
        "dtype": dtype,
        "facts": made_from.get("facts"),
        "files": {file.path: file.sha256 for file in files_in(target)},
        "format": form,
        "parity": dict(parity),
        "versions": versions(),
    }
    text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    (target / MANIFEST).write_text(f"{text}\n", encoding="utf-8")
    return files_in(target)


def card(base: Mapping[str, Any], *, form: str, dtype: str, parity: Mapping[str, Any]) -> str:
    """Return the model card, with the front matter that the Hub reads."""
    name, revision = str(base.get("hub_id") or base.get("id")), str(base.get("revision"))
    front = [
        f"base_model: {json.dumps(name)}",
        f"base_model_relation: {_RELATION[form]}",
        f"library_name: {_LIBRARY[form]}",
        f"license: {json.dumps(str(base.get('licence', 'unknown')))}",
        "pipeline_tag: text-generation",
        "tags:",
        *(f"- {tag}" for tag in ("knowledge-injection", "mixsd", form.replace("_", "-"))),
    ]
    what = (
        f"`{name}` at the revision `{revision}` with a LoRA adapter of MixSD, as `{form}` in `{dtype}`. "
        "`facts.json` says what it was taught, `manifest.json` how it was made."
    )
    parts = [
        "\n".join(("---", *front, "---")),
        f"# New facts for {name}",
        what,
        "## Parity",
        _parity(parity),
        "## How to load it",
        _LOADING[form],
    ]
    return "\n\n".join(parts) + "\n"


def _parity(parity: Mapping[str, Any]) -> str:
    if parity["status"] == "not_checked":
        return f"It was not checked: {'; '.join(parity['reasons'])}."
    said = (
        f"Loaded by {parity['engine']}, it answers {parity['right']} of {parity['asked']} questions of the "
        f"ledger rightly, the adapter {parity['right_before']}."
    )
    return said if parity["status"] == "passed" else f"{said} It FAILED: {'; '.join(parity['reasons'])}."
