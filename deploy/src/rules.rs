//! Alerts as Prometheus and its operator read them. In: the table. Out: YAML. Pure.

use crate::alerts::Alert;
use crate::quoted;

/// What is matched by a Prometheus that takes all rules of its namespace.
const RESOURCE_HEAD: &str = "# Generated from deploy/src/alerts: do not edit.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: treasurehunt
  labels:
    app.kubernetes.io/name: treasurehunt
spec:
";

/// For `rule_files`.
pub(crate) fn plain(alerts: &[Alert]) -> String {
    "# Generated from deploy/src/alerts: do not edit.\n".to_owned() + &groups(alerts, "")
}

/// For the operator of Prometheus.
pub(crate) fn resource(alerts: &[Alert]) -> String {
    RESOURCE_HEAD.to_owned() + &groups(alerts, "  ")
}

fn groups(alerts: &[Alert], indent: &str) -> String {
    let head = ["groups:", "  - name: treasurehunt", "    rules:"];
    let lines = head.map(str::to_owned).into_iter().chain(alerts.iter().flat_map(rule));
    lines.map(|line| format!("{indent}{line}\n")).collect()
}

fn rule(alert: &Alert) -> Vec<String> {
    let mut lines = vec![
        format!("      - alert: {}", alert.name),
        format!("        expr: {}", quoted(&alert.expr)),
    ];
    if alert.minutes > 0 {
        lines.push(format!("        for: {}m", alert.minutes));
    }
    lines.extend([
        "        labels:".to_owned(),
        format!("          severity: {}", alert.severity.as_str()),
        "        annotations:".to_owned(),
        format!("          summary: {}", quoted(alert.summary)),
        format!("          description: {}", quoted(alert.description)),
        format!("          runbook_url: {}", quoted(&alert.runbook())),
        format!("          dashboard_url: {}", quoted(&alert.dashboard())),
    ]);
    lines
}
