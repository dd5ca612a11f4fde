//! The committed page of metrics is what the catalogue says.

use telemetry::catalogue;

#[test]
fn the_page_of_metrics_is_fresh() {
    fresh::check(env!("CARGO_MANIFEST_DIR"), [("../docs/metrics.md", catalogue::markdown())]);
}

#[test]
fn no_metric_is_undocumented() {
    let page = catalogue::markdown();
    for metric in catalogue::all() {
        assert!(page.contains(&format!("| `{}` |", metric.name)), "{}", metric.name);
    }
}
