//! The committed page of metrics is what the catalogue says. A stale one is rewritten, and the test
//! fails once, so that the next commit holds it.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use telemetry::catalogue;

#[test]
fn the_page_of_metrics_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let fresh = catalogue::markdown();
    if committed != fresh {
        std::fs::write(&path, &fresh).unwrap();
        panic!("rewritten, commit it: {}", path.display());
    }
}

#[test]
fn no_metric_is_undocumented() {
    let page = catalogue::markdown();
    for metric in catalogue::all() {
        assert!(page.contains(&format!("| `{}` |", metric.name)), "{}", metric.name);
    }
}
