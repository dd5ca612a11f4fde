//! What names a query uses, so that none is unknown. In: PromQL. Out: names of series. Pure.

use std::collections::BTreeSet;

/// Series that are Prometheus' own.
const FOREIGN: [&str; 1] = ["up"];
/// What our metrics begin with.
const PREFIXES: [&str; 4] = ["treasurehunt_", "controller_runtime_", "workqueue_", "process_"];

/// The names of our series in a query.
pub fn series(query: &str) -> BTreeSet<&str> {
    let outside = outside_quotes(query);
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    outside
        .into_iter()
        .flat_map(|text| text.split(move |c| !is_name(c)))
        .filter(|word| PREFIXES.iter().any(|prefix| word.starts_with(prefix)))
        .filter(|word| !FOREIGN.contains(word))
        .collect()
}

/// The names that the catalogue does not have.
pub fn unknown(query: &str) -> Vec<&str> {
    let is_unknown = |name: &&str| telemetry::catalogue::find(name).is_none();
    series(query).into_iter().filter(is_unknown).collect()
}

/// Values of labels are no names.
fn outside_quotes(query: &str) -> Vec<&str> {
    query.split('"').step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_values_of_labels_are_not() {
        let query = r#"sum by (job) (rate(workqueue_adds_total{name="treasurehunt_x"}[5m])) / up"#;
        assert_eq!(series(query), ["workqueue_adds_total"].into());
        assert!(unknown(query).is_empty());
        assert_eq!(unknown("rate(treasurehunt_agent_evnts_total[1m])").len(), 1);
        assert_eq!(unknown("treasurehunt_agent_effect_seconds").len(), 1, "a histogram has none");
        assert!(unknown("treasurehunt_agent_effect_seconds_bucket").is_empty());
    }
}
