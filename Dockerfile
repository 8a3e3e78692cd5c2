# The gate alone: no torch, no models, no GPU. docs/doors/docker.md says how it is used.
FROM python:3.11-slim

WORKDIR /source
COPY constraints.txt .
# What `harness gate` and the lexical judge import; what else the package needs is for training and evaluating.
RUN pip install --no-cache-dir --constraint constraints.txt \
    httpx2 huggingface_hub numpy py3langid pydantic pyyaml rapidfuzz rich scipy typer
COPY pyproject.toml README.md LICENSE ./
COPY harness harness
COPY reports reports
COPY tasks tasks
RUN pip install --no-cache-dir --no-deps . && rm -rf /source

# Nothing is written but what the command is asked for, and that by nobody in particular.
ENV HOME=/tmp
RUN useradd --uid 10001 --no-create-home gate
USER gate
WORKDIR /work
ENTRYPOINT ["harness"]
CMD ["gate", "--help"]
