# syntax=docker/dockerfile:1
# Two images from one file: `api` serves and sweeps and has no torch, `worker` runs jobs.

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/mixsd
ENV PATH=/opt/mixsd/bin:$PATH
WORKDIR /src
COPY constraints.txt ./

FROM build AS build-api
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY migrations migrations
COPY mixsd mixsd
COPY worker worker
RUN pip install --constraint constraints.txt '.[otel,parquet,s3]'

FROM build AS build-worker
# By itself, so that a change of our code does not fetch it again. The default index has CUDA.
RUN pip install --constraint constraints.txt torch
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY migrations migrations
COPY mixsd mixsd
COPY worker worker
RUN pip install --constraint constraints.txt '.[ml,otel,s3]'

# What both images share. Volumes that are mounted here for the first time take over the owner.
FROM python:3.11-slim-bookworm AS runtime
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/mixsd mixsd \
    && install --directory --owner=mixsd --group=mixsd /var/lib/mixsd /var/cache/mixsd/models
ENV PATH=/opt/mixsd/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MIXSD_DATA_DIR=/var/lib/mixsd \
    MIXSD_MODEL_CACHE=/var/cache/mixsd/models
WORKDIR /var/lib/mixsd

FROM runtime AS api
COPY --from=build-api /opt/mixsd /opt/mixsd
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["mixsd", "api", "--host", "0.0.0.0"]

FROM runtime AS worker
COPY --from=build-worker /opt/mixsd /opt/mixsd
USER 10001:10001
HEALTHCHECK --interval=60s --timeout=30s --start-period=60s --retries=3 \
    CMD ["sh", "-c", "celery --app worker.celery_app:celery inspect ping --timeout 10 --destination celery@$(hostname)"]
CMD ["mixsd", "worker"]
