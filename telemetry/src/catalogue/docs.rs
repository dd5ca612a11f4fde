//! The catalogue as a page for people. Pure.

use std::fmt::Write as _;

use super::{Kind, Label, Metric, Unit, Values, agent, common, operator};

const HEAD: &str = "# Metrics

Generated from `telemetry/src/catalogue`: do not edit.

Agent and operator serve these at `/metrics` of their HTTP port. Who a series is of stands in the
labels that the scrape attaches (`job`, `instance`, and for agents `hunt` and `node`, as the files in
`deploy/prometheus` do); the operator's series of a hunt have the label `hunt` by themselves. No label
holds what there is no end of: no event, no player, no key. Counters and histograms whose labels can
only say certain words stand at 0 from the start.

";

/// The page `docs/metrics.md`.
pub fn markdown() -> String {
    let parts = [("Agent", agent::TABLE), ("Operator", operator::TABLE), ("Both", common::TABLE)];
    parts.into_iter().fold(HEAD.to_owned(), |page, (title, table)| page + &part(title, table))
}

fn part(title: &str, table: &[&Metric]) -> String {
    let mut text = format!(
        "## {title}\n\n| metric | type | unit | labels | what it says |\n|---|---|---|---|---|\n"
    );
    for metric in table {
        let labels: Vec<String> = metric.labels.iter().map(label).collect();
        let labels = if labels.is_empty() { "none".to_owned() } else { labels.join("; ") };
        let (name, help) = (metric.name, metric.help);
        let (kind, unit) = (kind(metric.kind), unit(metric.unit));
        // writing to a string does not fail
        let _ = writeln!(text, "| `{name}` | {kind} | {unit} | {labels} | {help} |");
    }
    text + "\n"
}

fn label(label: &Label) -> String {
    match label.values {
        Values::OneOf(values) => {
            let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
            format!("`{}`: {}", label.name, values.join(", "))
        }
        Values::AtMost { count, what } => {
            format!("`{}`: {what}, at most {count}", label.name)
        }
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "count",
        Unit::Seconds => "seconds",
        Unit::Bytes => "bytes",
        Unit::Cores => "cores",
        Unit::Ratio => "ratio",
        Unit::Truth => "0 or 1",
        Unit::Time => "seconds since 1970",
        Unit::OfLabel => "by label",
    }
}
