# `make image` builds this; docs/server.md says how to run it.
FROM docker.io/library/python:3.11-slim AS build
# PyTorch without CUDA, which would add 4 GB. If this index cannot be reached, name a mirror of it.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN python -m venv /opt/image-search
ENV PATH=/opt/image-search/bin:$PATH
WORKDIR /src
COPY requirements.txt constraints.txt ./
RUN pip install --no-cache-dir --no-compile --extra-index-url "$TORCH_INDEX" --constraint constraints.txt \
        --requirement requirements.txt \
    && python -c "import torch; assert torch.__version__.endswith('+cpu'), torch.__version__"
COPY . .
# Importing compiles the modules that a start needs. Compiling all packages would add 300 MB.
RUN pip install --no-cache-dir --no-deps . \
    && python -P -c "import app.page, app.server, cv2, milvus_lite.adapter.grpc.servicer, openvino, pandas, torch, towhee; \
                     from PIL import Image; Image.init()"

FROM docker.io/library/python:3.11-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner=10001 --group=10001 /data
COPY --from=build /opt/image-search /opt/image-search
# /data holds the collection, downloaded weights and lists of rejected images. A mounted folder must belong to 10001.
ENV PATH=/opt/image-search/bin:$PATH \
    HOME=/data \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    IMAGE_SEARCH_HOST=0.0.0.0 \
    IMAGE_SEARCH_URI=/data/search.db \
    IMAGE_SEARCH_CACHE=/data/cache
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 7860
# Not /readyz, which fails until something is indexed.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/healthz', timeout=4)"]
ENTRYPOINT ["image-search"]
CMD ["serve"]
