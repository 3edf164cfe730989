# qpert for CPUs and for NVIDIA GPUs, as kuberay/rayjob-index.yaml uses it:
#
#   docker build --target cpu -t qpert:cpu .
#   docker build --target cuda -t registry.example.com/qpert:cuda13 .
#   docker build --target cuda --build-arg TORCH_BUILD=+cu126 -t registry.example.com/qpert:cuda12.6 .    # Pascal
#   docker run --rm --shm-size=2g -v "$PWD/photos:/photos:ro" -v "$PWD/features:/data" qpert:cpu \
#       index /photos --out /data/features
#
# torch from PyPI is built for CUDA 13, which has no kernels for Pascal (GTX 1080 Ti); the CUDA 12.6 build of torch 2.14
# has. It and the build for CPUs come from PyTorch's own index. The GPU's driver comes from the host, by NVIDIA's
# container toolkit. The process has no root rights (user 1000, as in Ray's own images): folders that it writes to must
# be writable for that user.
#
# A tag can be moved. For images that can be built again take the base by digest, --build-arg
# BASE=python:3.11.13-slim-bookworm@sha256:..., as `docker buildx imagetools inspect` prints it.
#
# NOT VERIFIED: hadolint accepts this file, but no image was built from it, and that the tag of the base image and
# torch's builds +cpu and +cu126 exist was not looked up.
ARG BASE=python:3.11.13-slim-bookworm

# The wheel is built apart, so that neither the sources nor the tools for it end in the image.
# hadolint ignore=DL3006
FROM ${BASE} AS wheel
WORKDIR /source
RUN pip install --no-cache-dir setuptools==80.9.0 build==1.3.0
COPY pyproject.toml README.md LICENSE ./
COPY pipeline pipeline
COPY jobs jobs
RUN python -m build --wheel --no-isolation --outdir /wheels .

# hadolint ignore=DL3006
FROM ${BASE} AS base
# For OpenCV, which ultralytics needs.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --no-install-recommends -y libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 --gid users qpert \
    && mkdir /data \
    && chown qpert:users /data
ENV PYTHONUNBUFFERED=1 \
    PIP_ROOT_USER_ACTION=ignore \
    HF_HOME=/data/huggingface
WORKDIR /data
ENTRYPOINT ["qpert"]
CMD ["--help"]
ARG TORCH=2.14.1
ARG TORCHVISION=0.29.2
ARG RAY=2.60.0

# Everything goes into the image's own Python, which is on the path of login shells too: KubeRay starts Ray by one.
# A build that the index does not have makes pip fail, rather than take another one.
FROM base AS cpu-packages
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
    "torch==${TORCH}+cpu" "torchvision==${TORCHVISION}+cpu" "ray[data,tune,default]==${RAY}"

FROM base AS cuda-packages
# Empty: the build from PyPI; +cu126: that for CUDA 12.6.
ARG TORCH_BUILD=""
# Without a build PyTorch's index is left out, whose builds would go before those of PyPI.
RUN if [ -n "${TORCH_BUILD}" ]; then \
        export PIP_EXTRA_INDEX_URL="https://download.pytorch.org/whl/${TORCH_BUILD#+}"; \
    fi \
    && pip install --no-cache-dir \
    "torch==${TORCH}${TORCH_BUILD}" "torchvision==${TORCHVISION}${TORCH_BUILD}" "ray[data,tune,default]==${RAY}"

FROM cpu-packages AS cpu
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(echo /wheels/*.whl)[yolo,onnx]"
USER 1000

FROM cuda-packages AS cuda
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(echo /wheels/*.whl)[yolo,onnx]"
USER 1000
