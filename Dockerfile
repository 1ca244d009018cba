# CPU:  docker build -t tumorboard .
# GPU:  docker build -t tumorboard --build-arg EXTRAS=all,gpu .   and run it with --gpus all
# Use:  docker run --rm -v "$PWD:/study" tumorboard --all
FROM python:3.12-slim
ARG EXTRAS=all
# torch's wheels for CPUs only are a tenth of those with CUDA; with gpu in EXTRAS the ordinary ones are taken.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /src
COPY pyproject.toml README.md LICENSE CITATION.cff CHANGELOG.md ./
COPY benchmark benchmark
COPY backbones backbones
RUN case ",$EXTRAS," in \
        *,gpu,*) pip install --no-cache-dir ".[$EXTRAS]" ;; \
        *) pip install --no-cache-dir --index-url "$TORCH_INDEX" torch && pip install --no-cache-dir ".[$EXTRAS]" ;; \
    esac
# Caches stay on the mounted folder, so that a second run finds them.
ENV TUMORBOARD_CACHE=/study/.tumorboard-cache HF_HOME=/study/.tumorboard-cache/hub KERAS_HOME=/study/.tumorboard-cache/keras
WORKDIR /study
ENTRYPOINT ["python", "-m", "benchmark"]
CMD ["--help"]
