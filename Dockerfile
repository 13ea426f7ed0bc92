# The one image of Metropolis: metropolis-controller, metropolis-gateway, and for `helm test` and the
# examples metropolis-reverser, the example worker, and curl. The chart says which of them runs.
# hack/image builds it without a container engine or a registry.

ARG DEBIAN=debian:13-slim

FROM ${DEBIAN} AS toolchain
RUN apt-get -q update && \
    apt-get -q install -y --no-install-recommends \
        gcc libc6-dev cmake ninja-build pkg-config \
        libuv1-dev libllhttp-dev libyyjson-dev libcurl4-openssl-dev \
        libyaml-dev libssl-dev libpcre2-dev zlib1g-dev libnats-dev && \
    rm -rf /var/lib/apt/lists/*

FROM toolchain AS build
COPY . /src
RUN cmake -S /src -B /build -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DMETROPOLIS_TESTS=OFF && \
    cmake --build /build --target metropolis-controller metropolis-gateway reverser && \
    install -s -D -t /out /build/metropolis-controller /build/metropolis-gateway && \
    install -s /build/examples/reverser /out/metropolis-reverser

FROM ${DEBIAN} AS runtime
RUN apt-get -q update && \
    apt-get -q upgrade -y && \
    apt-get -q install -y --no-install-recommends \
        ca-certificates curl \
        libuv1t64 libllhttp9.2 libyyjson0 libcurl4t64 \
        libyaml-0-2 libssl3t64 libpcre2-8-0 zlib1g libnats3.10 && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*

FROM runtime
COPY --from=build /out/ /usr/local/bin/
LABEL org.opencontainers.image.title="Metropolis" \
      org.opencontainers.image.description="Kubernetes-native HTTP to NATS gateway" \
      org.opencontainers.image.licenses="MIT"
# Nothing is written to the file system: run it read-only. A number, so that Kubernetes can tell
# that it is not root (runAsNonRoot).
USER 65532:65532
CMD ["metropolis-gateway", "--help"]
