# The daemon's image: `pirtad listen` and `pirtad web`. No torch and no models in it.
#
#   docker build --file deploy/daemon.Dockerfile --tag pirtad/daemon:0.1.0 .
#
# The root file system may be read-only; /var/lib/pirtad holds the data and /tmp must be writable.

FROM python:3.11-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/pirtad
COPY deploy/daemon.requirements.txt deploy/postgres.requirements.txt /requirements/
RUN /opt/pirtad/bin/pip install \
      --requirement /requirements/daemon.requirements.txt \
      --requirement /requirements/postgres.requirements.txt
WORKDIR /source
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY daemon ./daemon
COPY inference ./inference
COPY worker ./worker
# --no-deps: the package's own list of dependencies has the worker's too.
RUN /opt/pirtad/bin/pip install --no-deps .

FROM python:3.11-slim
# The same numbers in both images: they share the data volume, which takes its owner from the image at first use.
RUN groupadd --system --gid 10001 pirtad \
    && useradd --system --uid 10001 --gid pirtad --home-dir /var/lib/pirtad --shell /usr/sbin/nologin pirtad \
    && install --directory --owner pirtad --group pirtad --mode 0700 /var/lib/pirtad
COPY --from=build /opt/pirtad /opt/pirtad
COPY deploy/healthcheck.py /opt/pirtad/healthcheck.py
ENV PATH=/opt/pirtad/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    PIRTAD_STORAGE__DATA_DIR=/var/lib/pirtad \
    PIRTAD_LISTENER__HOST=0.0.0.0 \
    PIRTAD_WEB__HOST=0.0.0.0 \
    PIRTAD_LOG__FORMAT=json
USER 10001:10001
# Not the data directory: a pirtad.toml in the current directory would be read.
WORKDIR /opt/pirtad
EXPOSE 11112 8042
HEALTHCHECK --interval=60s --timeout=15s --start-period=60s --retries=3 \
    CMD ["python", "/opt/pirtad/healthcheck.py", "listener"]
ENTRYPOINT ["pirtad"]
CMD ["listen"]
