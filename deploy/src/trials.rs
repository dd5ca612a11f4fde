//! Two trials of each alert, for `promtool test rules`: series under which it fires, and series under
//! which it has to stay quiet. In: the table. Out: YAML. Pure.

use crate::alerts::{Alert, Series};
use crate::quoted;

const HEAD: &str = "# Generated from deploy/src/alerts: do not edit.
rule_files:
  - rules.yaml
evaluation_interval: 1m
fuzzy_compare: true
tests:
";

/// When an alert is looked for: longer than any of them waits.
const LOOK_MINUTES: u32 = 30;

pub(crate) fn file(alerts: &[Alert]) -> String {
    let trials = alerts.iter().flat_map(|alert| {
        let quiet = (!alert.quiet.is_empty()).then(|| trial(alert, &alert.quiet, false));
        [Some(trial(alert, &alert.firing, true)), quiet]
    });
    HEAD.to_owned() + &trials.flatten().collect::<String>()
}

fn trial(alert: &Alert, series: &[Series], fires: bool) -> String {
    let name = format!("{} {}", alert.name, if fires { "fires" } else { "stays quiet" });
    let mut text = format!("  - name: {}\n    interval: 1m\n    input_series:\n", quoted(&name));
    for one in series {
        text += &format!("      - series: {}\n", quoted(&one.name));
        text += &format!("        values: {}\n", quoted(&one.values));
    }
    text += &format!(
        "    alert_rule_test:\n      - eval_time: {LOOK_MINUTES}m\n        alertname: {}\n",
        alert.name
    );
    if fires {
        text += &expected(alert);
    } else {
        text += "        exp_alerts: []\n";
    }
    text
}

fn expected(alert: &Alert) -> String {
    let mut text = "        exp_alerts:\n          - exp_labels:\n".to_owned();
    text += &format!("              severity: {}\n", alert.severity.as_str());
    for (label, value) in alert.labels {
        text += &format!("              {label}: {}\n", quoted(value));
    }
    let annotations = [
        ("summary", alert.summary.to_owned()),
        ("description", alert.description.to_owned()),
        ("runbook_url", alert.runbook()),
        ("dashboard_url", alert.dashboard()),
    ];
    text += "            exp_annotations:\n";
    for (name, said) in annotations {
        text += &format!("              {name}: {}\n", quoted(&filled(&said, alert.labels)));
    }
    text
}

/// The text as Prometheus fills it in.
fn filled(text: &str, labels: &[(&str, &str)]) -> String {
    labels.iter().fold(text.to_owned(), |text, (label, value)| {
        text.replace(&format!("{{{{ $labels.{label} }}}}"), value)
    })
}
