"""What clients receive about serving an adapter."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.delivery.engines import Engine
from app.ids import AdapterId


class ServeStep(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    title: str
    language: Literal["bash", "python", "modelfile"]
    code: str
    file: Annotated[
        str | None, Field(description="Where to save the code. Null: it is for the command line.")
    ]


class ServePlan(BaseModel):
    """How an engine serves an adapter: steps to carry out, in one folder, in order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "adapter_id": "adp_019ab3c4d5e67f8091a2b3c4d5e6f70a",
                    "engine": "ollama",
                    "way": "gguf",
                    "problems": ["Ollama creates no models from an `ADAPTER` any more, since 0.34.1"],
                    "needs": ["Ollama: see ollama.com/download"],
                    "steps": [
                        {
                            "title": "Create the model",
                            "language": "bash",
                            "code": "ollama create mine -f Modelfile",
                            "file": None,
                        }
                    ],
                }
            ]
        }
    )

    adapter_id: AdapterId
    engine: Engine
    way: Annotated[
        Literal["adapter", "merged", "gguf", "gguf_lora"],
        Field(description="What the engine is given: the adapter as it is, or an export of it."),
    ]
    problems: Annotated[list[str], Field(description="Why the engine cannot take the adapter as it is.")]
    needs: Annotated[list[str], Field(description="What must be there, and what is worth knowing.")]
    steps: list[ServeStep]
