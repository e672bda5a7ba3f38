"""Adapters that were made elsewhere: compared with their base model, and then like any other."""

import gzip
import io
import json
import math
import re
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import select

from app.adapters.models import AdapterFile, Blob
from app.db.engine import Database
from app.ids import ProjectId
from app.main import build_app
from app.projects.models import Project
from app.queue import NullDispatcher
from app.settings import Settings
from app.storage import LocalStore
from tests.app import imported
from tests.app.imported import BASE, CONFIG, MODEL, RANK, REVISION, TARGETS, files, pairs, tar_gz, zipped
from tests.app.published import a_published_job
from tests.factories import NOW, a_fact_set

ZIP, TAR = {"Content-Type": "application/zip"}, {"Content-Type": "application/gzip"}


@pytest.fixture(autouse=True)
def base(settings: Settings) -> Path:
    assert settings.model_cache
    return imported.a_base(settings.model_cache)


def send(
    client: TestClient, data: bytes, headers: dict[str, str] = TAR, base_model: str = MODEL, **query: str
) -> Response:
    return client.post(
        "/adapters/import", content=data, headers=headers, params={"base_model": base_model, **query}
    )


def refused(answer: Response, status: int, code: str) -> str:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    return str(answer.json()["detail"])


def without(name: str) -> dict[str, bytes]:
    return {path: data for path, data in files().items() if path != name}


@pytest.mark.parametrize("how", ["tar.gz", "zip", "form"])
def test_an_adapter_is_brought_in(
    client: TestClient, database: Database, store: LocalStore, how: str
) -> None:
    if how == "form":
        form = {"file": ("ours.zip", zipped(files()), "application/octet-stream")}
        answer = client.post(
            "/adapters/import", files=form, data={"name": "ours"}, params={"base_model": MODEL}
        )
    else:
        data, headers = (tar_gz(files()), TAR) if how == "tar.gz" else (zipped(files(), folder="a/b/"), ZIP)
        answer = send(client, data, headers, label="ours")

    assert answer.status_code == 201, answer.text
    adapter = answer.json()
    assert answer.headers["location"] == f"/adapters/{adapter['id']}"
    assert client.get(answer.headers["location"]).json() == adapter
    assert (adapter["status"], adapter["method_type"], adapter["label"]) == ("ready", "imported", "ours")
    assert (adapter["job_id"], adapter["fact_set_id"]) == (None, None)
    assert (adapter["base_model"], adapter["base_revision"]) == (MODEL, REVISION)
    url = f"/adapters/{adapter['id']}"
    weights = client.get(f"{url}/files/adapter_model.safetensors").content
    assert weights == files()["adapter_model.safetensors"]
    manifest = client.get(f"{url}/manifest").json()
    assert manifest["base_model"]["id"] == MODEL
    assert len(manifest["base_model"]["template_sha256"]) == 64
    assert f"LoRA of rank {RANK} on 4 layers" in client.get(f"{url}/card").text
    with zipfile.ZipFile(io.BytesIO(client.get(f"{url}/download?format=zip").content)) as archive:
        assert len(archive.namelist()) == 4
    lineage = client.get(f"{url}/lineage").json()
    assert (lineage["imported"], lineage["job"], lineage["fact_set"]) == (True, None, None)
    with database.read() as session:
        stored = set(session.scalars(select(AdapterFile.sha256)))
        assert stored == set(session.scalars(select(Blob.sha256)))
    assert all(store.exists(sha256) for sha256 in stored)


def test_what_peft_is_told_is_written_by_us(client: TestClient) -> None:
    config = {**CONFIG, "revision": "x", "whatever": {"a": 1}, "inference_mode": False, "use_rslora": True}
    adapter = send(client, tar_gz(files(config))).json()

    written = client.get(f"/adapters/{adapter['id']}/files/adapter_config.json").json()

    assert "whatever" not in written
    assert (written["r"], written["lora_alpha"], written["use_rslora"]) == (RANK, 4, True)
    assert written["base_model_name_or_path"] == MODEL
    assert written["target_modules"] == [
        f"model.layers.{n}.self_attn.{name}" for n in (0, 1) for name in TARGETS
    ]


def test_facts_may_be_named(client: TestClient, database: Database) -> None:
    fact_set = a_fact_set(database, n=3)

    adapter = send(client, tar_gz(files()), fact_set_id=fact_set.id).json()

    assert adapter["fact_set_id"] == fact_set.id
    assert client.get(f"/adapters/{adapter['id']}/lineage").json()["fact_set"]["n_facts"] == 3
    assert client.get(f"/adapters/{adapter['id']}/manifest").json()["facts"]["n"] == 3
    assert client.post("/evaluations", json={"adapter_id": adapter["id"]}).status_code == 202


def test_without_facts_an_evaluation_has_to_name_some(client: TestClient, database: Database) -> None:
    adapter = send(client, tar_gz(files())).json()

    detail = refused(client.post("/evaluations", json={"adapter_id": adapter["id"]}), 422, "facts_not_named")
    named = {"adapter_id": adapter["id"], "fact_set_id": a_fact_set(database, n=3).id}

    assert "fact_set_id" in detail
    assert client.post("/evaluations", json=named).status_code == 202


def test_an_import_is_deleted_as_any_other(client: TestClient) -> None:
    adapter = send(client, tar_gz(files())).json()

    assert client.delete(f"/adapters/{adapter['id']}").status_code == 204
    assert client.get(f"/adapters/{adapter['id']}").status_code == 404


def test_a_request_that_comes_again_makes_one_adapter(client: TestClient) -> None:
    headers, data = {**TAR, "Idempotency-Key": "once"}, tar_gz(files())

    first, again = send(client, data, headers), send(client, data, headers)

    assert first.json() == again.json()
    assert len(client.get("/adapters").json()["data"]) == 1
    refused(send(client, tar_gz(files(), folder="x/"), headers), 422, "idempotency_key_reused")


def test_the_same_files_may_come_twice(client: TestClient) -> None:
    ids = {send(client, tar_gz(files())).json()["id"] for _ in range(2)}

    assert len(ids) == 2


def test_facts_of_others_are_not_there(client: TestClient, database: Database) -> None:
    with database.begin() as session:
        session.add(Project(id=ProjectId("prj_theirs"), name="theirs", created_at=NOW))
    theirs = a_fact_set(database, project_id=ProjectId("prj_theirs"))

    refused(send(client, tar_gz(files()), fact_set_id=theirs.id), 404, "fact_set_not_found")

    assert client.get("/adapters").json()["data"] == []


def test_a_project_has_no_more_room_than_its_quota(
    database: Database, store: LocalStore, settings: Settings
) -> None:
    client = TestClient(
        build_app(database, store, NullDispatcher(), settings.model_copy(update={"quota_stored_bytes": 1000}))
    )

    answer = send(client, tar_gz(files()))

    refused(answer, 429, "quota_exceeded")
    assert answer.json()["quota"] == "stored_bytes"


OTHER_SIZE = {**TARGETS, "q_proj": (16, 16)}
WRONG: dict[str, tuple[dict[str, bytes], str]] = {
    "another base by name": (files({**CONFIG, "base_model_name_or_path": "other/model"}), "other/model"),
    "another base by shape": (files(shapes=pairs(targets=OTHER_SIZE)), r"layer of \[16, 16\]"),
    "more layers": (files(shapes=pairs(layers=3)), r"no layer model\.layers\.2"),
    "fewer layers": (files(shapes=pairs(layers=1)), r"no pair for layers\.1\.self_attn\.q_proj"),
    "a target without pairs": (
        files({**CONFIG, "target_modules": ["q_proj", "v_proj", "k_proj"]}),
        r"no pair for layers\.0\.self_attn\.k_proj",
    ),
    "pairs beside the targets": (files({**CONFIG, "target_modules": ["q_proj"]}), "does not name"),
    "half a pair": (
        files(
            shapes={name: shape for name, shape in pairs().items() if "1.self_attn.v_proj.lora_B" not in name}
        ),
        "v_proj has no lora_B",
    ),
    "higher rank": (files({**CONFIG, "r": 513}, pairs(rank=513)), "from 1 to 512"),
    "higher rank in the weights": (files(shapes=pairs(rank=513)), "rank 513"),
    "another rank": (files({**CONFIG, "r": 3}), "says 3"),
    "no LoRA": (files({**CONFIG, "peft_type": "IA3"}), "IA3"),
    "a task that is none": (files({**CONFIG, "task_type": []}), "task_type is "),
    "layers that are none": (files({**CONFIG, "layers_to_transform": [[0]]}), "no list of numbers"),
    "exclusions that are none": (files({**CONFIG, "exclude_modules": [1]}), "exclude_modules"),
    "another task": (files({**CONFIG, "task_type": "SEQ_CLS"}), "SEQ_CLS"),
    "whole modules": (files({**CONFIG, "modules_to_save": ["lm_head"]}), "modules_to_save"),
    "a pattern": (files({**CONFIG, "target_modules": "(a+)+$"}), "no list of names"),
    "a changed base": (files({**CONFIG, "init_lora_weights": "pissa"}), "pissa"),
    "a scale that is none": (files({**CONFIG, "lora_alpha": "4"}), "lora_alpha"),
    "other tensors": (files(shapes={**pairs(), "model.embed_tokens.weight": (32, 8)}), "no part of a LoRA"),
    "no tensors": (files(shapes={}), "no tensors"),
    "a config that is no JSON": ({**files(), "adapter_config.json": b"{"}, "no JSON"),
    "a config that is a list": ({**files(), "adapter_config.json": b"[]"}, "no JSON object"),
    "DoRA without magnitudes": (files({**CONFIG, "use_dora": True}), "no lora_magnitude_vector"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_adapter_of_this_model_is_refused(client: TestClient, case: str) -> None:
    content, said = WRONG[case]

    detail = refused(send(client, tar_gz(content)), 422, "bad_adapter")

    assert re.search(said, detail), detail
    assert client.get("/adapters").json()["data"] == []


UNSAFE: dict[str, bytes] = {
    "a header longer than the file": b"\xff" * 8 + b"{}",
    "no header": b"",
    "cut short": files()["adapter_model.safetensors"][:-1],
    "bytes behind the end": files()["adapter_model.safetensors"] + b"x",
    "integers": imported.safetensors(pairs(), "I64"),
}


@pytest.mark.parametrize("case", UNSAFE)
def test_weights_that_are_no_sound_file_are_refused(client: TestClient, case: str) -> None:
    content = {**files(), "adapter_model.safetensors": UNSAFE[case]}

    refused(send(client, tar_gz(content)), 422, "unsafe_weights")


NO_NUMBERS: dict[str, tuple[str, bytes]] = {
    "NaN": ("F32", struct.pack("<f", math.nan)),
    "NaN with a sign": ("F32", struct.pack("<f", -math.nan)),
    "infinity": ("F32", struct.pack("<f", math.inf)),
    "half NaN": ("F16", struct.pack("<e", math.nan)),
    "half infinity": ("F16", struct.pack("<e", -math.inf)),
    "brain NaN": ("BF16", b"\xc0\x7f"),
    "brain infinity": ("BF16", b"\x80\xff"),
    "double NaN": ("F64", struct.pack("<d", math.nan)),
    "double infinity": ("F64", struct.pack("<d", -math.inf)),
    "too large for single": ("F64", struct.pack("<d", 1e300)),
}


@pytest.mark.parametrize("case", NO_NUMBERS)
def test_weights_that_are_no_numbers_are_refused_by_the_name_of_their_tensor(
    client: TestClient, store: LocalStore, case: str
) -> None:
    dtype, value = NO_NUMBERS[case]
    name = "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"
    weights = imported.safetensors(pairs(), dtype, {name: value})

    detail = refused(
        send(client, tar_gz({**files(), "adapter_model.safetensors": weights})), 422, "bad_adapter"
    )

    assert name in detail
    assert "NaN" in detail
    assert client.get("/adapters").json()["data"] == []
    assert list(store.blobs()) == []


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("F32", struct.pack("<f", -3e38)),
        ("F16", struct.pack("<e", 65504)),
        ("BF16", b"\x7f\x7f"),
        ("F64", struct.pack("<d", 1e-300)),
    ],
)
def test_every_kind_of_float_is_taken_up_to_its_ends(client: TestClient, dtype: str, value: bytes) -> None:
    name = "base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight"
    content = {**files(), "adapter_model.safetensors": imported.safetensors(pairs(), dtype, {name: value})}

    assert send(client, tar_gz(content)).status_code == 201


@pytest.mark.parametrize("pack", [tar_gz, zipped])
@pytest.mark.parametrize("name", ["adapter_model.bin", "optimizer.pt", "x/rng_state.PTH"])
def test_a_pickle_is_never_read(client: TestClient, pack: Callable[..., bytes], name: str) -> None:
    detail = refused(
        send(client, pack({**files(), name: b"x"}), ZIP if pack is zipped else TAR), 422, "unsafe_weights"
    )

    assert "pickle" in detail


@pytest.mark.parametrize("pack", [tar_gz, zipped])
@pytest.mark.parametrize("name", ["../adapter_config.json", "a/../../b", "/etc/passwd", "a\\b", "C:/x"])
def test_a_name_that_leads_out_of_the_archive_is_refused(
    client: TestClient, pack: Callable[..., bytes], name: str
) -> None:
    data = pack({name: b"{}", **files()}, folder="")

    refused(send(client, data, ZIP if pack is zipped else TAR), 422, "unsafe_archive")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(client: TestClient, kind: bytes) -> None:
    link = tarfile.TarInfo("adapter/adapter_config.json")
    link.type, link.linkname = kind, "/etc/passwd"

    refused(send(client, tar_gz(files(), members=[link])), 422, "unsafe_archive")


def test_a_link_in_a_zip_file_is_refused(client: TestClient) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        link = zipfile.ZipInfo("adapter_config.json")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")

    refused(send(client, packed.getvalue(), ZIP), 422, "unsafe_archive")


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
@pytest.mark.parametrize("cut", [0, 1.5, 10, 0.5, -30, -1])
def test_an_archive_that_ends_in_the_middle_is_refused(client: TestClient, kind: str, cut: float) -> None:
    whole = tar_gz(files()) if kind == "tar.gz" else zipped(files())
    at = int(len(whole) * cut) if 0 < cut < 1 else int(cut)

    answer = send(client, whole[:at], TAR if kind == "tar.gz" else ZIP)

    refused(answer, 400, "malformed_archive")


@pytest.mark.parametrize("offset", [0, 1_000_000, 0xFFFFFFF0])
def test_a_zip_file_whose_list_of_members_leads_elsewhere_is_refused(client: TestClient, offset: int) -> None:
    data = bytearray(zipped(files()))
    at = data.rindex(b"PK\x05\x06") + 16
    data[at : at + 4] = offset.to_bytes(4, "little")

    refused(send(client, bytes(data), ZIP), 400, "malformed_archive")


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_file_that_is_missing_is_named(client: TestClient, name: str) -> None:
    assert name in refused(send(client, tar_gz(without(name))), 400, "malformed_archive")


def test_a_file_that_is_there_twice_is_refused(client: TestClient) -> None:
    data = tar_gz({"a/adapter_config.json": b"{}", **files()})

    assert "twice" in refused(send(client, data), 400, "malformed_archive")


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_a_bomb_does_not_go_off(client: TestClient, settings: Settings, kind: str) -> None:
    size = 50 << 20
    assert size > settings.max_upload_bytes
    if kind == "tar.gz":
        data, headers = imported.a_bomb(size), TAR
    else:
        data, headers = zipped({**without("adapter_config.json"), "adapter_config.json": bytes(size)}), ZIP
    assert len(data) < settings.max_upload_bytes

    refused(send(client, data, headers), 413, "archive_too_large")


def test_what_a_tar_file_says_of_a_member_is_bounded(client: TestClient) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 100_000
    data = gzip.compress(info.tobuf() + bytes(100_352))

    refused(send(client, data), 422, "unsafe_archive")


def test_too_many_members_are_refused(client: TestClient) -> None:
    refused(send(client, zipped({f"f{n}": b"" for n in range(1001)}), ZIP), 422, "unsafe_archive")


def test_an_upload_that_is_too_large_is_refused(client: TestClient, settings: Settings) -> None:
    refused(send(client, bytes(settings.max_upload_bytes + 1)), 413, "body_too_large")


@pytest.mark.parametrize(
    ("model", "revision", "status", "code"),
    [
        ("owner/other", REVISION, 422, "model_not_allowed"),
        ("../x", REVISION, 422, "model_not_allowed"),
        (MODEL, "other", 409, "model_not_on_disk"),
        ("smollm2-135m-instruct", "q4_1-b179c952", 409, "model_not_on_disk"),
    ],
)
def test_the_base_model_must_be_allowed_and_here(
    client: TestClient, model: str, revision: str, status: int, code: str
) -> None:
    refused(send(client, tar_gz(files()), base_model=model, revision=revision), status, code)


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-tar", ""])
def test_another_type_is_refused(client: TestClient, kind: str) -> None:
    refused(send(client, tar_gz(files()), {"Content-Type": kind}), 415, "unsupported_media_type")


def test_nothing_is_left_of_what_was_refused(
    client: TestClient, store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))

    for case in ("higher rank", "half a pair"):
        send(client, tar_gz(WRONG[case][0]))
    send(client, tar_gz(files()))

    assert list(place.iterdir()) == []
    assert len(list(store.blobs())) == 4


def test_shapes_are_those_of_the_base_model_wherever_its_stack_stands(
    client: TestClient, settings: Settings
) -> None:
    assert settings.model_cache
    shapes = {name.replace("model.", "language_model.model.", 1): shape for name, shape in BASE.items()}
    (settings.model_cache / "owner--model" / REVISION / "model.safetensors").write_bytes(
        imported.safetensors(shapes)
    )

    assert send(client, tar_gz(files())).status_code == 201


def test_others_are_not_disturbed(client: TestClient, database: Database, store: LocalStore) -> None:
    a_published_job(database, store)

    send(client, tar_gz(files()))

    adapters: list[dict[str, Any]] = client.get("/adapters").json()["data"]
    assert [adapter["method_type"] for adapter in adapters] == ["imported", "mixsd"]
    assert json.loads(client.get(f"/adapters/{adapters[1]['id']}/lineage").text)["imported"] is False
