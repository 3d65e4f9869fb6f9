# The images of the relay, of the operator, and of the resolver that may run beside a relay:
#
#   docker build --build-arg BASE=python@sha256:… --target relay    -t mailboat-relay .
#   docker build --build-arg BASE=python@sha256:… --target operator -t mailboat-operator .
#   docker build --build-arg BASE=python@sha256:… --target resolver -t mailboat-resolver .
#
# BASE is any image with Python 3.11 or newer as `python3`, with venv; nothing else of it is used, except that the resolver
# is Debian's unbound, so that its base is a Debian. By its digest two builds are of the same base; docs/kubernetes.md says
# where the digest comes from. Wheels in a directory `wheels` of the context are taken instead of an index, and packages in
# `debs` instead of Debian's archive: then the build needs no network (`make e2e` builds this way).
ARG BASE=python:3.13-slim

# What builds, and an environment that is still empty.
FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1
WORKDIR /build
COPY requirements/*.txt wheels* inputs/
RUN if ls inputs/*.whl >/dev/null 2>&1; then printf '[global]\nno-index = true\nfind-links = /build/inputs\n' >/etc/pip.conf; fi \
 && python3 -m venv tools \
 && tools/bin/pip install --require-hashes -r inputs/build.txt \
 && python3 -m venv --without-pip /opt/mailboat \
 && mkdir -p spool

# What each runs on changes less often than the sources, so it comes first.
FROM build AS needs-of-relay
RUN tools/bin/pip --python /opt/mailboat/bin/python install --require-hashes -r inputs/relay.txt

FROM build AS needs-of-operator
RUN tools/bin/pip --python /opt/mailboat/bin/python install --require-hashes -r inputs/operator.txt

FROM build AS wheel
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY relay relay
COPY operator operator
RUN tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist .

FROM needs-of-relay AS build-relay
COPY --from=wheel /build/dist dist
RUN tools/bin/pip --python /opt/mailboat/bin/python install --no-deps dist/*.whl \
 && /opt/mailboat/bin/python -m compileall -q -j 0 /opt/mailboat/lib

FROM needs-of-operator AS build-operator
COPY --from=wheel /build/dist dist
RUN tools/bin/pip --python /opt/mailboat/bin/python install --no-deps dist/*.whl \
 && /opt/mailboat/bin/python -m compileall -q -j 0 /opt/mailboat/lib

# The resolver's image. The chart mounts unbound.conf at /etc/unbound, and a volume at /var/lib/unbound.
FROM ${BASE} AS resolver
LABEL org.opencontainers.image.title="mailboat-resolver" \
      org.opencontainers.image.description="unbound, which validates DNS answers for a relay of Mailboat" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY resolver/start.py debs* /opt/mailboat/
RUN export DEBIAN_FRONTEND=noninteractive \
 && if ls /opt/mailboat/*.deb >/dev/null 2>&1; \
    then dpkg --install /opt/mailboat/*.deb && rm /opt/mailboat/*.deb; \
    else apt-get update && apt-get install --yes --no-install-recommends unbound dns-root-data && rm -rf /var/lib/apt/lists/*; fi
USER 65532:65532
WORKDIR /
ENTRYPOINT ["python3", "-I", "/opt/mailboat/start.py"]

# The operator's image: `docker run mailboat-operator operator --all-namespaces`.
FROM ${BASE} AS operator
ENV PATH=/opt/mailboat/bin:/usr/local/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
LABEL org.opencontainers.image.title="mailboat-operator" \
      org.opencontainers.image.description="Turns OutboundConfig resources into what Mailboat's relays run" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build-operator /opt/mailboat /opt/mailboat
USER 65532:65532
WORKDIR /
EXPOSE 9026
ENTRYPOINT ["mailboat"]
CMD ["operator"]

# The relay's image: `docker run -v $PWD/config:/etc/mailboat:ro -v queue:/var/spool/mailboat mailboat-relay`.
FROM ${BASE} AS relay
ENV PATH=/opt/mailboat/bin:/usr/local/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    MAILBOAT_QUEUE_DIR=/var/spool/mailboat
LABEL org.opencontainers.image.title="mailboat-relay" \
      org.opencontainers.image.description="An outbound mail relay: durable, fast, and at home in Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build-relay /opt/mailboat /opt/mailboat
COPY --from=build-relay --chown=65532:65532 /build/spool /var/spool/mailboat
USER 65532:65532
WORKDIR /
EXPOSE 2525 2587 2465 9025
ENTRYPOINT ["mailboat"]
CMD ["relay", "--config", "/etc/mailboat"]
