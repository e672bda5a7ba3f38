"""Process configuration, read once from the environment."""

from datetime import timedelta
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, RedisDsn, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def _number(value: object) -> object:
    """Let `MIXSD_LEASE=120` or `0.5` mean seconds. Pydantic alone would demand `PT120S` there."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


Seconds = Annotated[timedelta, BeforeValidator(_number)]


def _seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


class AuthMode(StrEnum):
    """When an API key is asked for."""

    AUTO = "auto"
    REQUIRED = "required"
    OFF = "off"


class MetricsAccess(StrEnum):
    """Who may read `GET /metrics`."""

    OFF = "off"
    KEY = "key"
    LOOPBACK = "loopback"
    OPEN = "open"


class Settings(BaseSettings):
    """Everything that differs between deployments.

    Built once by a composition root (`mixsd.cli`, `app.main`, `worker.celery_app`) and
    passed down as plain values. No other module reads the environment.
    """

    model_config = SettingsConfigDict(env_prefix="MIXSD_", env_file=".env", frozen=True, extra="ignore")

    data_dir: Path = Field(
        default=Path("data"),
        description="Where everything is kept: the SQLite file, artifacts and the work of running jobs. "
        "API and workers of one deployment share it.",
    )
    database_url: str = Field(
        default="",
        repr=False,
        description="SQLAlchemy URL. Empty: the SQLite file `mixsd.db` in the data folder, which is for one "
        "machine. For a team: `postgresql+psycopg://…`.",
    )
    redis_url: RedisDsn | None = Field(
        default=None,
        repr=False,
        description="Celery broker, for workers that run as processes of their own. `mixsd up` needs none.",
    )
    artifacts: str = Field(
        default="",
        pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()/-]*)?)?$",
        description="Where files of adapters are kept. Empty: the folder `artifacts` in the data folder. "
        "`s3://bucket/prefix`: a bucket, with the credentials that boto3 finds; needs the extra `s3`.",
    )
    s3_endpoint: str = Field(
        default="",
        pattern=r"^(https?://[^\s/]+/?)?$",
        description="Address of a server that speaks S3, such as `https://minio.internal:9000`. Empty: AWS.",
    )
    s3_public_endpoint: str = Field(
        default="",
        pattern=r"^(https?://[^\s/]+/?)?$",
        description="Address by which clients reach that server, if it is another one.",
    )
    s3_region: str = Field(default="", description="Region of the bucket. Empty: as boto3 finds it.")
    s3_redirect: bool = Field(
        default=True,
        description="Let clients fetch single files of adapters from S3 itself, by a redirect to an address "
        "that is good for a while. Off: all goes through the API.",
    )
    s3_link: Seconds = Field(
        default=_seconds(900),
        ge=timedelta(seconds=1),
        le=timedelta(days=7),
        description="How long such an address is good.",
    )
    model_cache: Path | None = Field(
        default=None,
        description="Where base models are kept. Empty: `mixsd/models` in the user's cache folder.",
    )
    supervision_cache: str = Field(
        default="auto",
        description="File that keeps the texts which models wrote, for later jobs with the same facts and "
        "settings; on a disk of the worker's host. `auto`: `supervision.sqlite` in the folder of base "
        "models. Empty: none are kept.",
    )
    supervision_cache_bytes: int = Field(
        default=1_000_000_000,
        ge=100_000,
        description="Largest size of that file; texts that were not used for longest make room.",
    )
    allowed_models: tuple[str, ...] = Field(
        default=(),
        description="Hub ids that jobs may name beside the built-in models, as a JSON list; "
        '`["*"]` allows any. Empty: built-in models only.',
    )
    device: str = Field(
        default="auto", description="Where models run: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`."
    )
    llama_cpp: Path | None = Field(
        default=None,
        description="Folder of llama.cpp with its converters, which write GGUF. Empty: they are looked for "
        "on the PATH of the worker.",
    )
    threads: int = Field(
        default=0, ge=0, description="Threads of a runner on the CPU. 0: as many as there are cores."
    )
    max_processes: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Most processes that a job may train with (`training.processes`). 0: as many as there "
        "are GPUs, 1 without.",
    )
    gpus: str = Field(
        default="auto",
        pattern=r"^(auto|[0-9]+(,[0-9]+)*|)$",
        description="GPUs that the workers of this machine share, as a list of indices such as `0,1`. "
        "`auto`: all that are seen. Empty: GPUs are not shared out.",
    )
    jobs_per_gpu: int = Field(default=1, ge=1, le=16, description="Jobs that share a GPU at the same time.")
    cpu_jobs: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="Jobs that run on this machine at the same time where none uses a GPU. 0: one for each "
        "worker.",
    )
    gpu_patience: Seconds = Field(
        default=_seconds(600),
        description="How long a job that wants several GPUs lets later ones that want fewer go first.",
    )
    log_json: bool = Field(default=False, description="Write logs as JSON lines instead of text.")
    metrics: MetricsAccess = Field(
        default=MetricsAccess.KEY,
        description="Who may read `GET /metrics`. `key`: an admin key of the default project. `loopback`: "
        "this machine too, without a key. `open`: whoever reaches the API. `off`: nobody.",
    )
    otlp_endpoint: str = Field(
        default="",
        repr=False,
        description="Where traces are sent, by OTLP over HTTP: `http://collector:4318`. Needs the extra "
        "`otel`. Empty: nothing is traced.",
    )

    auth: AuthMode = Field(
        default=AuthMode.AUTO,
        description="When API keys are asked for. `auto`: as soon as one was ever made; until then only this "
        "machine is answered, and the API refuses to listen for others. `required`: always. `off`: never.",
    )
    key_cache: Seconds = Field(
        default=_seconds(5),
        ge=timedelta(0),
        description="How long a process of the API trusts a key without looking again: so long may a revoked "
        "one still work.",
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description="Names by which the API may be called, as a JSON list: "
        '`["mixsd.example.com", "*.internal"]`. Others get 400. Empty: any name; but while no key is asked '
        "for because there is none, only those of this machine.",
    )
    trusted_proxies: tuple[str, ...] = Field(
        default=(),
        description="Addresses and networks of proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are "
        "believed, as a JSON list. Empty: those of `FORWARDED_ALLOW_IPS`, or else 127.0.0.1.",
    )
    request_timeout: Seconds = Field(
        default=_seconds(20),
        gt=timedelta(0),
        description="How long a client may take to send the head of a request, and again how long it may be "
        "silent, all in all, while it sends the body; each kilobyte wins a second of that back.",
    )
    rate_limit: int = Field(
        default=6000,
        ge=0,
        description="Requests a minute for each key; without keys, for each address. 0: any number.",
    )
    quota_running_jobs: int = Field(
        default=0, ge=0, description="Jobs of a project that run at the same time. 0: any number."
    )
    quota_queued_jobs: int = Field(
        default=0, ge=0, description="Jobs of a project that wait or are paused. 0: any number."
    )
    quota_gpu_seconds: int = Field(
        default=0,
        ge=0,
        description="Seconds that the jobs of a project may run in a day, which begins at midnight UTC. "
        "0: any number.",
    )
    quota_stored_bytes: int = Field(
        default=0, ge=0, description="Size of all adapters and uploaded files of a project. 0: any size."
    )

    stream_poll: Seconds = Field(
        default=_seconds(0.5),
        ge=timedelta(milliseconds=10),
        description="How often a process of the API looks for news to send to its open streams of events.",
    )
    max_streams: int = Field(
        default=2000, ge=0, description="Streams of events that a process of the API keeps open at once."
    )
    inference: str = Field(
        default="auto",
        pattern=r"^(auto|off|https?://[^\s/]+/?)$",
        description="Who answers `POST /adapters/{id}/generate`. `auto`: a process that `mixsd up` starts on "
        "first use; `mixsd api` has none. `off`: nobody. Else the address of `mixsd inference`, such as "
        "`http://inference:8001`.",
    )
    inference_token: str = Field(
        default="",
        repr=False,
        description="Secret that API and inference process share. Empty: the file `inference.token` in the "
        "data folder.",
    )
    inference_device: str = Field(
        default="", description="Where adapters are asked, as `MIXSD_DEVICE`, which is the default."
    )
    inference_adapters: int = Field(
        default=8, ge=1, le=256, description="Adapters that stay loaded beside their base model."
    )
    inference_queue: int = Field(
        default=32, ge=1, description="Requests that are answered or wait at the same time; others get 503."
    )
    inference_timeout: Seconds = Field(
        default=_seconds(120),
        gt=timedelta(0),
        description="How long a request may wait, and then how long it may be answered: what is written "
        "by then is sent.",
    )
    inference_idle: Seconds = Field(
        default=_seconds(600),
        gt=timedelta(0),
        description="Idleness after which the inference process gives its memory back.",
    )

    max_body_bytes: int = Field(
        default=1_000_000, ge=1000, description="Largest JSON body of a request, in bytes."
    )
    max_upload_bytes: int = Field(
        default=512_000_000,
        ge=1000,
        description="Largest uploaded file of facts, in bytes. It lies in the folder for temporary files "
        "(`TMPDIR`) while it is read.",
    )
    max_facts: int = Field(default=1_000_000, ge=1, description="Most facts in a fact set.")

    heartbeat: Seconds = Field(default=_seconds(10), description="How often a worker renews its lease.")
    lease: Seconds = Field(default=_seconds(60), description="Silence after which a job changes workers.")
    sweep: Seconds = Field(
        default=_seconds(5), description="How often lost jobs are taken back and waiting ones announced."
    )
    hint: Seconds = Field(default=_seconds(30), description="How often a waiting queue is announced again.")
    idle_poll: Seconds = Field(
        default=_seconds(1), description="How often the worker of `mixsd up` looks for a job."
    )
    stall: Seconds = Field(
        default=_seconds(900), description="Silence of a running phase after which its process is ended."
    )
    grace: Seconds = Field(
        default=_seconds(30), description="How long a process may take to stop before it is killed."
    )
    checkpoint: Seconds = Field(default=_seconds(60), description="How often training saves a checkpoint.")

    keep_work: Seconds = Field(
        default=_seconds(259_200),
        description="How long the checkpoints of a job that failed or was cancelled are kept, for a retry.",
    )
    idempotency: Seconds = Field(
        default=_seconds(86_400),
        description="How long the answer to a request with an `Idempotency-Key` is kept.",
    )

    webhook_allow: tuple[str, ...] = Field(
        default=(),
        description="Networks, addresses and host names to which webhooks may go although they are not on "
        'the public internet, as a JSON list: `["10.20.0.0/16", "ci.internal"]`.',
    )
    webhook_http: bool = Field(
        default=False,
        description="Let webhooks go to `http://` as well: what they say can be read on the way.",
    )
    webhook_timeout: Seconds = Field(
        default=_seconds(10),
        gt=timedelta(0),
        le=timedelta(seconds=30),
        description="How long one try of a webhook may take, all in all.",
    )
    webhook_give_up: Seconds = Field(
        default=_seconds(259_200),
        description="How long a webhook may fail before it is disabled, once a message to it is given up.",
    )
    keep_deliveries: Seconds = Field(
        default=_seconds(2_592_000),
        description="How long is kept what was sent to webhooks, and how that went.",
    )

    @field_validator("webhook_allow")
    @classmethod
    def _networks_can_be_read(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        for entry in entries:
            if "/" in entry:
                ip_network(entry)
        return entries

    @model_validator(mode="after")
    def _lease_outlives_heartbeat(self) -> Self:
        if self.lease < 3 * self.heartbeat:
            raise ValueError("MIXSD_LEASE must be at least three times MIXSD_HEARTBEAT")
        return self

    @property
    def database(self) -> str:
        """URL of the database, with the default filled in."""
        return self.database_url or f"sqlite:///{self.data_dir / 'mixsd.db'}"

    @property
    def artifact_dir(self) -> Path:
        return self.data_dir / "artifacts"

    @property
    def work_dir(self) -> Path:
        return self.data_dir / "work"
