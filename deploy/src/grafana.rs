//! How a Grafana at hand gets the boards: provisioning, and a compose file that starts one beside a
//! Prometheus. Pure text.

/// Boards choose their data source; this one is there to be chosen.
pub(crate) fn data_source() -> String {
    "# Generated from deploy/src/grafana.rs: do not edit.
apiVersion: 1
datasources:
  - name: Prometheus
    type: prometheus
    access: proxy
    url: ${PROMETHEUS_URL}
    isDefault: true
    jsonData:
      timeInterval: 5s
"
    .to_owned()
}

pub(crate) fn provider() -> String {
    "# Generated from deploy/src/grafana.rs: do not edit.
apiVersion: 1
providers:
  - name: treasurehunt
    folder: TreasureHunt
    type: file
    allowUiUpdates: false
    options:
      path: /var/lib/grafana/dashboards/treasurehunt
"
    .to_owned()
}

/// Both use the machine's own network, as `hunt dev` listens on loopback.
pub(crate) fn compose() -> String {
    "# Generated from deploy/src/grafana.rs: do not edit.
# docker compose up, then http://127.0.0.1:3000/d/treasurehunt-overview
# For another Prometheus: PROMETHEUS_URL=http://host:9090 docker compose up
services:
  grafana:
    image: grafana/grafana:12.4.2
    network_mode: host
    environment:
      GF_AUTH_ANONYMOUS_ENABLED: 'true'
      GF_SERVER_HTTP_ADDR: 127.0.0.1
      PROMETHEUS_URL: ${PROMETHEUS_URL:-http://127.0.0.1:9090}
    volumes:
      - ./provisioning:/etc/grafana/provisioning:ro
      - ./boards:/var/lib/grafana/dashboards/treasurehunt:ro
"
    .to_owned()
}
