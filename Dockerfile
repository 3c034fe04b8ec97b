# The agent with its page and the client programs of PostgreSQL 17, which read and write servers up to that version.
#   docker build -t pgsluice .
#   docker run --rm -p 127.0.0.1:7432:7432 -v pgsluice:/var/lib/pgsluice pgsluice
# It runs as an ordinary user and writes to /var/lib/pgsluice and /tmp only, so the root file system may be read-only.
ARG NODE_IMAGE=node:24-trixie-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json ./
# Without scripts: `prepare` builds the project, and its sources come one layer later.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json vite.config.ts vite.agent.config.ts ./
COPY src src
COPY web web
COPY migrations migrations
RUN npm run build \
 && npm prune --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund

FROM ${NODE_IMAGE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends postgresql-client-17 ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && install -d -o node -g node -m 0700 /var/lib/pgsluice
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY bin bin
COPY migrations migrations
COPY LICENSE ./
ENV NODE_ENV=production \
    HOME=/var/lib/pgsluice
USER node
VOLUME /var/lib/pgsluice
EXPOSE 7432
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["node", "-e", "process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'; fetch(`http${process.env.PGSLUICE_TLS_CERT ? 's' : ''}://127.0.0.1:${process.env.PGSLUICE_PORT || 7432}/healthz`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "/app/bin/pgsluice.js"]
# Who reaches it is decided by how its port is published. For HTTPS mount a certificate, and set PGSLUICE_TLS_CERT and PGSLUICE_TLS_KEY.
CMD ["serve", "--host", "0.0.0.0", "--insecure"]
