# CLIBD in a container, for a processor unless told otherwise:
#
#     docker build -t clibd .                                             # torch's CPU build
#     docker build -t clibd:cu128 --build-arg UV_TORCH_BACKEND=cu128 .   # a CUDA build; run it with --gpus all
#     docker run --rm -v "$PWD:/work" clibd identify photos/ --db DB
#     docker run --rm -p 127.0.0.1:8400:8400 -e CLIBD_SERVE_TOKEN -v "$PWD/DB:/db:ro" clibd serve /db --host 0.0.0.0
#
# Nothing secret goes into an image: tokens and keys come with `docker run`, as above.

ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS build
# Which build of torch: cpu, cu126, cu128, …; uv reads it.
ARG UV_TORCH_BACKEND=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/clibd && /opt/clibd/bin/pip install "uv>=0.8"
WORKDIR /source
# What changes seldom comes first: a change of our own code installs nothing anew but that.
COPY pyproject.toml README.md LICENSE hatch_build.py ./
RUN /opt/clibd/bin/uv pip install --no-cache --python /opt/clibd/bin/python --requirement pyproject.toml
COPY . .
RUN /opt/clibd/bin/uv pip install --no-cache --no-deps --compile-bytecode --python /opt/clibd/bin/python .

FROM ${BASE}
# The commit that provenance names, as .git is not sent to the builder: --build-arg COMMIT=$(git rev-parse HEAD).
ARG COMMIT=""
ENV CLIBD_COMMIT=${COMMIT} PATH="/opt/clibd/bin:${PATH}" CLIBD_CACHE=/home/clibd/.cache/clibd PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 10001 clibd && mkdir /work && chown clibd:clibd /work
COPY --from=build /opt/clibd /opt/clibd
USER clibd
WORKDIR /work
EXPOSE 8400
# Of `clibd serve`: whoever answers, also with a refusal for want of its token, is alive. Other commands listen nowhere,
# and end before it is asked.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 CMD ["python3", "-c", "\
import urllib.error, urllib.request\n\
try: urllib.request.urlopen('http://127.0.0.1:8400/', timeout=4)\n\
except urllib.error.HTTPError as error: assert error.code < 500\n"]
ENTRYPOINT ["clibd"]
CMD ["--help"]
