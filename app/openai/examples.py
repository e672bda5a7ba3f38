"""Examples of answers in the contract, of the models of this API."""

from typing import Any, Final

_AT: Final = 1_795_514_400
_JOB: Final = "job_019ab3c4d5e67f8091a2b3c4d5e6f708"
_SET: Final = "fset_019ab3c4d5e67f8091a2b3c4d5e6f709"
_ADAPTER: Final = "adp_019ab3c4d5e67f8091a2b3c4d5e6f70a"
_FILE: Final = "file_019ab3c4d5e67f8091a2b3c4d5e6f70d"
_CHECKPOINT: Final = "ckpt_019ab3c4d5e67f8091a2b3c4d5e6f70a"
_EVENT: Final = "evt_019ab3c4d5e67f8091a2b3c4d5e6f70c"
_CHAT: Final = "chatcmpl_019ab3c4d5e67f8091a2b3c4d5e6f710"
_BASE: Final = "smollm2-135m-instruct"
_USAGE: Final = {"prompt_tokens": 36, "completion_tokens": 8, "total_tokens": 44}
_HOW: Final = {"n_epochs": 3, "batch_size": 8, "learning_rate_multiplier": 1.0}

_UPLOADED: Final = {
    "id": _FILE,
    "object": "file",
    "bytes": 5120,
    "created_at": _AT,
    "expires_at": None,
    "filename": "vorlund.jsonl",
    "purpose": "fine-tune",
    "status": "processed",
    "status_details": None,
    "fact_set_id": _SET,
}
_TUNING: Final = {
    "id": _JOB,
    "object": "fine_tuning.job",
    "created_at": _AT,
    "finished_at": _AT + 600,
    "estimated_finish": None,
    "status": "succeeded",
    "error": None,
    "model": _BASE,
    "fine_tuned_model": _ADAPTER,
    "training_file": _FILE,
    "validation_file": None,
    "result_files": [],
    "hyperparameters": _HOW,
    "method": {"type": "supervised", "supervised": {"hyperparameters": _HOW}},
    "trained_tokens": None,
    "seed": 0,
    "integrations": [],
    "metadata": {},
    "organization_id": "prj_default",
    "suffix": None,
}
_HAPPENED: Final = {
    "id": _EVENT,
    "object": "fine_tuning.job.event",
    "created_at": _AT,
    "level": "info",
    "message": "the job was created",
    "type": "message",
    "data": {"event": "job.created"},
}
_SAVED: Final = {
    "id": _CHECKPOINT,
    "object": "fine_tuning.job.checkpoint",
    "created_at": _AT,
    "fine_tuning_job_id": _JOB,
    "fine_tuned_model_checkpoint": _CHECKPOINT,
    "step_number": 40,
    "metrics": {"step": 40, "train_loss": 0.41},
}
_MODEL: Final = {
    "id": _ADAPTER,
    "object": "model",
    "created": _AT,
    "owned_by": "prj_default",
    "parent": _BASE,
    "status": "ready",
}


def _page(item: dict[str, Any]) -> dict[str, Any]:
    ends = {"first_id": item["id"], "last_id": item["id"]}
    return {"object": "list", "data": [item], **ends, "has_more": False}


OPENAI_EXAMPLES: Final[dict[str, Any]] = {
    "OpenAIFile": _UPLOADED,
    "OpenAIPage_OpenAIFile_": _page(_UPLOADED),
    "OpenAIFileDeleted": {"id": _FILE, "object": "file", "deleted": True},
    "FineTuningJob": _TUNING,
    "OpenAIPage_FineTuningJob_": _page(_TUNING),
    "FineTuningEvent": _HAPPENED,
    "OpenAIPage_FineTuningEvent_": _page(_HAPPENED),
    "FineTuningCheckpoint": _SAVED,
    "OpenAIPage_FineTuningCheckpoint_": _page(_SAVED),
    "OpenAIModel": _MODEL,
    "OpenAIModels": {"object": "list", "data": [_MODEL]},
    "OpenAIModelDeleted": {"id": _ADAPTER, "object": "model", "deleted": True},
    "ChatCompletion": {
        "id": _CHAT,
        "object": "chat.completion",
        "created": _AT,
        "model": _ADAPTER,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Oda Tolm.", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": _USAGE,
        "system_fingerprint": f"{_BASE}@q4_1-b179c952",
    },
    "ChatCompletionChunk": {
        "id": _CHAT,
        "object": "chat.completion.chunk",
        "created": _AT,
        "model": _ADAPTER,
        "choices": [
            {"index": 0, "delta": {"content": "Oda"}, "logprobs": None, "finish_reason": None},
        ],
        "usage": None,
        "system_fingerprint": f"{_BASE}@q4_1-b179c952",
    },
}
