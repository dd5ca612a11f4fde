//! Where Prometheus finds agents and operators, and what it makes of them: the labels `hunt` and `node`
//! of agents come from there. Pure text.

use crate::alerts::{AGENT_JOB, OPERATOR_JOB};

/// For the operator of Prometheus. Pods say by labels of their own which hunt and node they are.
pub(crate) fn resources() -> String {
    let agents = monitor("agent", AGENT_JOB, AGENT_RELABELINGS);
    let operators = monitor("operator", OPERATOR_JOB, "");
    format!("# Generated from deploy/src/monitors.rs: do not edit.\n{agents}---\n{operators}")
}

const AGENT_RELABELINGS: &str = "        - sourceLabels: [__meta_kubernetes_namespace, __meta_kubernetes_pod_label_treasurehunt_dev_hunt]
          separator: /
          targetLabel: hunt
        - sourceLabels: [__meta_kubernetes_pod_label_treasurehunt_dev_node, __meta_kubernetes_pod_name]
          separator: ;
          regex: ;?([^;]+).*
          replacement: $1
          targetLabel: node
";

fn monitor(component: &str, job: &str, relabelings: &str) -> String {
    format!(
        "apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {job}
  labels:
    app.kubernetes.io/name: treasurehunt
    app.kubernetes.io/component: {component}
spec:
  selector:
    matchLabels:
      app.kubernetes.io/name: treasurehunt
      app.kubernetes.io/component: {component}
  namespaceSelector:
    any: true
  endpoints:
    - port: http
      path: /metrics
      interval: 15s
      honorLabels: true
      relabelings:
        - targetLabel: job
          replacement: {job}
{relabelings}"
    )
}

/// For a Prometheus of one's own: targets are in files, each with its `hunt` and `node`.
pub(crate) fn prometheus() -> String {
    format!(
        "# Generated from deploy/src/monitors.rs: do not edit.
# Targets are in targets/agents-*.yaml and targets/operators-*.yaml beside this file:
#   - targets: [127.0.0.1:9201]
#     labels: {{hunt: default/harbour, node: agent-0}}
global:
  scrape_interval: 5s
  evaluation_interval: 15s
rule_files:
  - rules.yaml
alerting:
  alertmanagers:
    - static_configs:
        - targets: [127.0.0.1:9093]
scrape_configs:
  - job_name: {AGENT_JOB}
    file_sd_configs:
      - files: [targets/agents-*.yaml]
        refresh_interval: 5s
  - job_name: {OPERATOR_JOB}
    honor_labels: true
    file_sd_configs:
      - files: [targets/operators-*.yaml]
        refresh_interval: 5s
"
    )
}

/// Everything goes to one place, which is to be replaced; the watchdog goes there every minute, so that
/// its absence tells that alerting itself is broken.
pub(crate) fn alertmanager() -> String {
    "# Generated from deploy/src/monitors.rs: do not edit. Put a receiver of your own in.
route:
  receiver: people
  group_by: [alertname, hunt]
  group_wait: 10s
  group_interval: 1m
  repeat_interval: 4h
  routes:
    - matchers: ['alertname = \"TreasureHuntWatchdog\"']
      receiver: watchdog
      repeat_interval: 1m
inhibit_rules:
  # without etcd nothing else can be mended
  - source_matchers: ['alertname = \"TreasureHuntEtcdUnreachable\"']
    target_matchers: ['alertname =~ \"TreasureHunt(WatchStale|NotConverged|ReconcileErrors|NoLeader)\"']
receivers:
  - name: people
  - name: watchdog
"
    .to_owned()
}
