//! An agent has every figure that the catalogue promises, and none besides.

use config_schemas::documents::Owner;
use config_schemas::{HuntName, NodeName, SlowCode};
use prometheus::Registry;
use store::sim::SimEtcd;
use store::{Store, StoreOptions};
use telemetry::catalogue::{Binary, Values, agent as catalogue};
use telemetry::metrics::{faults, unregistered};
use telemetry::tasks::Tasks;

use super::{ClientMetrics, PlaneMetrics, register_disk};
use crate::core::{self, CoreOptions};
use crate::gateway::GatewayMetrics;
use crate::partitions::log::Log;

#[tokio::test]
async fn an_agent_has_the_figures_of_the_catalogue_and_no_others() {
    let (at, _) = SimEtcd::new().serve_tcp().await.unwrap();
    let store = Store::open(StoreOptions::plain([format!("http://{at}")])).unwrap();
    let (registry, tasks) = (Registry::new(), Tasks::default());
    let data = tempfile::tempdir().unwrap();
    let hunt = HuntName::new("default", "harbour").unwrap();
    let log = Log::new(data.path().to_owned(), hunt.clone());
    let options = CoreOptions {
        hunt,
        me: Owner { node: NodeName::new("a").unwrap(), incarnation: "a-1".to_owned() },
        instance: "a-instance".to_owned(),
        directory: None,
        http: "127.0.0.1:1".to_owned(),
        grpc: "127.0.0.1:1".to_owned(),
    };
    let core = core::start(options, &store, log.retune(), &registry, &tasks).unwrap();
    PlaneMetrics::register(&registry, core.meters.clone()).unwrap();
    GatewayMetrics::register(&registry).unwrap();
    ClientMetrics::register(&registry).unwrap();
    core.hot.register(&registry).unwrap();
    register_disk(&registry, data.path().to_owned()).unwrap();
    telemetry::metrics::process::register(&registry).unwrap();
    assert_eq!(unregistered(&registry, Binary::Agent), Vec::<&str>::new());
    assert_eq!(faults(&registry.gather(), Binary::Agent), Vec::<String>::new());
    tasks.finish().await;
}

#[test]
fn words_of_labels_are_those_of_the_types_that_say_them() {
    let words = |metric: &telemetry::catalogue::Metric| match metric.labels[0].values {
        Values::OneOf(words) => words.to_vec(),
        Values::AtMost { .. } => Vec::new(),
    };
    assert_eq!(words(catalogue::SLOW.metric()), SlowCode::ALL.map(SlowCode::as_str));
}
