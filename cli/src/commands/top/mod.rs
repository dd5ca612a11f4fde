//! `hunt top`: where the load is. In: the hunt as etcd shows it, and from agents how much waits in
//! their logs. Out: nodes, partitions and hot keys, the heaviest first. The view is pure, asking is
//! I/O: all agents at the same time.

mod view;

use std::collections::BTreeMap;

use config_schemas::{HuntName, NodeName, PartitionId};
use tokio::task::JoinSet;

use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::http::Http;
use crate::reach::Etcd;
use crate::shown::Out;

pub use view::{Lags, Top, top};

/// Agents that are asked, the fullest first: further ones are not in the answer's rows.
const ASKED_MAX: usize = 64;
/// The gauge in an agent's metrics.
const LAG: &str = "treasurehunt_agent_partition_lag_events{partition=\"";

/// `hunt top`.
pub async fn run(etcd: &Etcd, out: Out, hunt: &HuntName, rows: usize) -> Result<(), Failure> {
    let fleet = etcd.fleet(hunt).await?;
    let lags = ask(&fleet).await;
    out.show(&top(&fleet, &lags, rows))
}

async fn ask(fleet: &Fleet) -> BTreeMap<NodeName, Lags> {
    let load = |node: &NodeName| fleet.load(node).map_or(0.0, |load| load.utilisation());
    let mut nodes: Vec<_> = fleet.nodes.iter().collect();
    nodes.sort_by(|(a, _), (b, _)| load(b).total_cmp(&load(a)));
    let http = Http::new();
    let mut asked = JoinSet::new();
    for (node, record) in nodes.into_iter().take(ASKED_MAX) {
        let (http, node, address) = (http.clone(), node.clone(), record.http.clone());
        asked.spawn(async move {
            let answer = http.get(&address, "/metrics").await.ok()?;
            answer.status.is_success().then(|| (node, lags(&String::from_utf8_lossy(&answer.body))))
        });
    }
    let mut found = BTreeMap::new();
    while let Some(answer) = asked.join_next().await {
        found.extend(answer.ok().flatten());
    }
    found
}

/// The lags in a text of metrics.
fn lags(metrics: &str) -> Lags {
    let lag = |line: &str| {
        let (id, value) = line.strip_prefix(LAG)?.split_once("\"} ")?;
        let value: f64 = value.trim().parse().ok()?;
        Some((PartitionId(id.parse().ok()?), value.max(0.0) as u64))
    };
    metrics.lines().filter_map(lag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lags_are_read_from_metrics_and_nothing_else_is() {
        let text = "# HELP treasurehunt_agent_partition_lag_events Events\n\
            treasurehunt_agent_partition_lag_events{partition=\"3\"} 12\n\
            treasurehunt_agent_partition_lag_events{partition=\"x\"} 12\n\
            treasurehunt_agent_other{partition=\"4\"} 9\n";
        assert_eq!(lags(text), [(PartitionId(3), 12)].into());
    }
}
