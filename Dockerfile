# Two images from one file:
#   docker build --target service -t k8s-execution:0.1.0 .
#   docker build --target agent -t k8s-execution-agent:0.1.0 .
# The service's packages are exactly those of requirements.txt, checked by their hashes; its own code is copied as it is, so
# that the image needs no build tool. No stage takes a secret.

FROM golang:1.25 AS agent-build
WORKDIR /src
COPY agent/ ./
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w" -o /k8s-execution-agent .

FROM scratch AS agent
COPY --from=agent-build /k8s-execution-agent /k8s-execution-agent
USER 65534:65534
ENTRYPOINT ["/k8s-execution-agent"]

FROM python:3.13-slim AS packages
COPY requirements.txt /tmp/requirements.txt
RUN python -m venv /opt/k8s-execution && \
    /opt/k8s-execution/bin/pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: -r /tmp/requirements.txt && \
    /opt/k8s-execution/bin/pip uninstall --yes pip

FROM python:3.13-slim AS service
COPY --from=packages /opt/k8s-execution /opt/k8s-execution
COPY --from=agent-build /k8s-execution-agent /opt/k8s-execution/bin/k8s-execution-agent
COPY templates/ /app/templates/
COPY server/ /app/server/
COPY clients/python/k8s_execution_client/ /app/clients/python/k8s_execution_client/
ENV PATH=/opt/k8s-execution/bin:$PATH \
    PYTHONPATH=/app/server:/app/clients/python \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    K8S_EXECUTION_DATA=/data \
    K8S_EXECUTION_AGENT=/opt/k8s-execution/bin/k8s-execution-agent
RUN python -m compileall -q /app && mkdir /data && chown 10001:10001 /data
WORKDIR /tmp
USER 10001:10001
VOLUME /data
EXPOSE 50051
ENTRYPOINT ["python", "-c", "from k8s_execution_client.cli.main import main; main()"]
CMD ["--help"]
