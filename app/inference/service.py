"""What must hold before an adapter is asked."""

from app.adapters import repository as adapters
from app.adapters.errors import AdapterQuarantinedError
from app.adapters.models import AdapterStatus
from app.db.engine import Database
from app.ids import AdapterId, ProjectId
from app.inference.schemas import GenerateRequest
from app.inference.wire import Ask, AskedAdapter, ChatMessage


def asked_adapter(database: Database, *, project_id: ProjectId, adapter_id: AdapterId) -> AskedAdapter:
    """Return what the inference process is told of an adapter: it knows neither projects nor quarantines.

    Raises:
        AdapterNotFoundError: The project has no such adapter.
        AdapterQuarantinedError: It is held back.
    """
    with database.read() as session:
        adapter = adapters.get_adapter(session, adapter_id, project_id=project_id)
        if adapter.status is AdapterStatus.QUARANTINED:
            raise AdapterQuarantinedError(adapter.id)
        files = {file.path: file.sha256 for file in adapters.files_of(session, adapter.id)}
    return AskedAdapter(
        id=adapter.id, base_model=adapter.base_model, base_revision=adapter.base_revision, files=files
    )


def ask_of(adapter: AskedAdapter, request: GenerateRequest) -> Ask:
    """Return what is asked of an adapter."""
    return Ask(
        adapter=adapter,
        chats=_chats(request),
        compare_base=request.compare_base,
        max_new_tokens=request.max_new_tokens,
        temperature=request.temperature,
        top_k=request.top_k,
        top_p=request.top_p,
        seed=request.seed,
        stop=request.stop,
        deltas=request.stream,
    )


def _chats(request: GenerateRequest) -> list[list[ChatMessage]]:
    if request.messages is not None:
        return [[ChatMessage(role=said.role, content=said.content) for said in request.messages]]
    return [[ChatMessage(role="user", content=prompt)] for prompt in request.prompts or ()]
