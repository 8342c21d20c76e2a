# The MLflow server alone: the tracking store on PostgreSQL, artefacts handed through to an S3-compatible bucket.
# `mlflow` as a package also brings what training and scoring need (scikit-learn, SciPy, PyArrow, Matplotlib, Docker's
# client); the server does without, so it is installed by itself, beside a list of what the server imports.

# Held to bytes; scripts/images.py renews it. Another: --build-arg DEBIAN=debian:bookworm-slim
ARG DEBIAN=debian:bookworm-slim@sha256:3783cc01769c7b2b1b83a5c5ad96c815348e28ed7da68e2e3687004faa906251
FROM ${DEBIAN} AS uv
RUN echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/fast && apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends ca-certificates python3-venv >/dev/null && rm -rf /var/lib/apt/lists/*
COPY constraints.txt docker/hashes.txt docker/hashes-cuda.txt /build/
RUN sed -n '/^uv==/,/[^\\]$/p' /build/hashes.txt > /build/uv.txt && python3 -m venv /uv \
 && /uv/bin/pip install --quiet --no-cache-dir --require-hashes --requirement /build/uv.txt
# Without a cache that stays, uv links what it has unpacked instead of copying it. What is fetched must have a hash of
# hashes.txt, which scripts/hashes.sh makes.
ENV PATH=/uv/bin:$PATH UV_NO_CACHE=1 UV_CONSTRAINT="/build/constraints.txt /build/hashes.txt" \
    UV_BUILD_CONSTRAINT="/build/constraints.txt /build/hashes.txt"

FROM uv AS packages
COPY docker/mlflow-requirements.txt /build/
ENV VIRTUAL_ENV=/opt/mlflow
RUN uv venv --quiet --no-project --python /usr/bin/python3 /opt/mlflow \
 && uv pip install --quiet --compile-bytecode --no-deps mlflow \
 && uv pip install --quiet --compile-bytecode --requirement /build/mlflow-requirements.txt

FROM ${DEBIAN} AS mlflow
RUN echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/fast && apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends ca-certificates python3 tini >/dev/null \
 && rm -rf /var/lib/apt/lists/* /var/cache/* /usr/share/doc /usr/share/man \
 && useradd --uid 10001 --user-group --create-home clickflow
COPY --chmod=755 docker/healthy /usr/local/bin/
COPY --from=packages /opt/mlflow /opt/mlflow
COPY src/clickflow/platform/mlflow_login.py /opt/mlflow/login/
ENV PATH=/opt/mlflow/bin:$PATH \
    VIRTUAL_ENV=/opt/mlflow \
    PYTHONPATH=/opt/mlflow/login \
    PYTHONUNBUFFERED=1 \
    GIT_PYTHON_REFRESH=quiet \
    MLFLOW_DISABLE_TELEMETRY=true \
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
USER clickflow
WORKDIR /home/clickflow
ENTRYPOINT ["tini", "--"]
CMD ["python3", "/opt/mlflow/login/mlflow_login.py", "--settings", "/tmp/mlflow/basic_auth.ini", "--", \
     "mlflow", "server", "--app-name", "basic-auth", "--host", "0.0.0.0", "--port", "5000", "--workers", "1"]
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s --retries=5 CMD ["healthy", "mlflow"]
EXPOSE 5000
LABEL org.opencontainers.image.title="clickflow-mlflow" \
      org.opencontainers.image.description="The MLflow server: experiments, registry, artefacts" \
      org.opencontainers.image.licenses="Apache-2.0"
