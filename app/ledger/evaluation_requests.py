"""What clients send to have an adapter measured again."""

from typing import Annotated

from pydantic import ConfigDict, Field

from app.jobs.requests import EvaluationOptions
from app.jobs.requests.base import Metadata, Name, Priority, Request


class EvaluationCreate(Request):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "adapter_id": "adp_019ab3c4d5e67f8091a2b3c4d5e6f70a",
                    "evaluation": {"gate": {"suite": "drift", "max_drop": 0.05}},
                },
                {
                    "name": "does it know the neighbours?",
                    "adapter_id": "adp_019ab3c4d5e67f8091a2b3c4d5e6f70a",
                    "fact_set_id": "fset_019ab3c4d5e67f8091a2b3c4d5e6f709",
                },
            ]
        }
    )

    adapter_id: Annotated[
        str,
        Field(max_length=40, description="Also one that is quarantined, and stays so whatever comes of it."),
    ]
    fact_set_id: Annotated[
        str | None, Field(max_length=40, description="Left out, the one that the adapter was taught.")
    ] = None
    evaluation: Annotated[
        EvaluationOptions, Field(description="As of a job. A gate is decided and reported, nothing more.")
    ] = EvaluationOptions()
    name: Name | None = None
    priority: Priority = 0
    metadata: Metadata = {}
