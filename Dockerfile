# Build: the runtime environment, from hashed locks, without pip or anything else that only builds.
# Not Alpine: rbloom and google-crc32c have no wheels for musl.
FROM python:3.11.14-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements.lock requirements-build.lock ./
RUN python -m venv --without-pip /opt/dht-crawler \
    && python -m pip --python /opt/dht-crawler install --require-hashes -r requirements.lock \
    && python -m pip install --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY crawler crawler
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && python -m pip --python /opt/dht-crawler install --no-deps --no-index dist/*.whl

# Run: that environment and a user without rights. The root file system may be read-only.
FROM python:3.11.14-slim-bookworm
RUN groupadd --gid 10001 crawler \
    && useradd --uid 10001 --gid crawler --no-create-home --home-dir /data --shell /usr/sbin/nologin crawler \
    && install -d -o crawler -g crawler /data
COPY --from=build /opt/dht-crawler /opt/dht-crawler
# Defaults in the environment rather than in CMD, so that adding a flag does not lose them.
ENV PATH=/opt/dht-crawler/bin:$PATH \
    DHT_CRAWLER_OUTPUT_PATH=/data/peers.jsonl \
    DHT_CRAWLER_STATE_DIRECTORY=/data/state \
    DHT_CRAWLER_LOG_FORMAT=json \
    DHT_CRAWLER_HTTP_LISTEN=127.0.0.1:9100
WORKDIR /data
USER 10001:10001
VOLUME /data
EXPOSE 6881/udp
STOPSIGNAL SIGTERM
# Asks over HTTP, at the address that the daemon left in its state directory: it follows --http, and without
# HTTP the heartbeat there is the answer.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 CMD ["dht-crawler", "health"]
ENTRYPOINT ["dht-crawler"]
