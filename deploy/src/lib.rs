//! What is installed beside the binaries to watch them: boards, alerts, and where Prometheus finds what they
//! are about. Written from the catalogue of metrics, so that a name stands in one place; the files are
//! committed here, and a test keeps them fresh. Pure.

pub mod alerts;
pub mod boards;
mod grafana;
mod monitors;
pub mod queries;
mod rules;
mod trials;

/// Every file that is made here: its path below the crate, and its text.
pub fn artefacts() -> Vec<(String, String)> {
    let (alerts, boards) = (alerts::all(), boards::all());
    let files = [
        ("prometheus/rules.yaml", rules::plain(&alerts)),
        ("prometheus/rules.test.yaml", trials::file(&alerts)),
        ("prometheus/prometheusrule.yaml", rules::resource(&alerts)),
        ("prometheus/servicemonitor.yaml", monitors::resources()),
        ("prometheus/prometheus.yaml", monitors::prometheus()),
        ("prometheus/alertmanager.yaml", monitors::alertmanager()),
        ("grafana/configmaps.yaml", boards::config_maps(&boards)),
        ("grafana/provisioning/datasources/prometheus.yaml", grafana::data_source()),
        ("grafana/provisioning/dashboards/treasurehunt.yaml", grafana::provider()),
        ("grafana/compose.yaml", grafana::compose()),
    ];
    let files = files.map(|(path, text)| (path.to_owned(), text)).into_iter();
    files.chain(boards.iter().map(|board| (board.path(), boards::board(board)))).collect()
}

/// Text as YAML and JSON both read it, on one line.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
