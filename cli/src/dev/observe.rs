//! What watches a development environment: a Prometheus with the installed rules that scrapes what runs,
//! and the Alertmanager that it tells. In: a layout, programs. Out: running processes, files of
//! targets. Texts are pure, the rest is I/O.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use servers::{
    AlertmanagerOptions, AlertmanagerPrograms, Places, PrometheusOptions, PrometheusPrograms,
    Unavailable, free_port,
};

use super::layout::{Layout, log, write};
use super::tell::Teller;
use super::world::World;
use crate::failure::Failure;

const RULES: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/prometheus/rules.yaml"));
const CONFIG: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/prometheus/prometheus.yaml"));
const ALERTMANAGER_CONFIG: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/prometheus/alertmanager.yaml"));
/// What differs from the installed file: people who try things out look after seconds.
const QUICKER: [(&str, &str); 3] = [
    ("scrape_interval: 5s", "scrape_interval: 1s"),
    ("evaluation_interval: 15s", "evaluation_interval: 5s"),
    ("refresh_interval: 5s", "refresh_interval: 1s"),
];
/// Where the installed file looks for an Alertmanager.
const INSTALLED_ALERTMANAGER: &str = "127.0.0.1:9093";

/// Their ports on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ObserverPorts {
    pub(super) prometheus: u16,
    pub(super) alertmanager: u16,
}

/// Their programs.
#[derive(Debug, Clone)]
pub(super) struct Observers {
    prometheus: PrometheusPrograms,
    alertmanager: AlertmanagerPrograms,
}

impl ObserverPorts {
    pub(super) fn fresh() -> Result<ObserverPorts, Failure> {
        let port = || free_port().map_err(|error| Failure::caused("finding a free port", &error));
        Ok(ObserverPorts { prometheus: port()?, alertmanager: port()? })
    }

    /// New ports for who does not run and whose port somebody else has taken.
    pub(super) fn give_way(
        &mut self,
        runs: impl Fn(&str) -> bool,
        taken: impl Fn(u16) -> bool,
    ) -> Result<(), Failure> {
        let fresh = ObserverPorts::fresh()?;
        if !runs("prometheus") && taken(self.prometheus) {
            self.prometheus = fresh.prometheus;
        }
        if !runs("alertmanager") && taken(self.alertmanager) {
            self.alertmanager = fresh.alertmanager;
        }
        Ok(())
    }

    /// `http://127.0.0.1:PORT` of one of the two.
    pub(super) fn url(self, name: &str) -> Option<String> {
        let port = match name {
            "prometheus" => self.prometheus,
            "alertmanager" => self.alertmanager,
            _ => return None,
        };
        Some(format!("http://127.0.0.1:{port}"))
    }

    fn prometheus(self, state: &Path) -> PrometheusOptions {
        let (dir, port) = (folder(state), self.prometheus);
        PrometheusOptions { dir, port, log: log(state, "prometheus") }
    }

    fn alertmanager(self, state: &Path) -> AlertmanagerOptions {
        let (dir, port) = (folder(state), self.alertmanager);
        AlertmanagerOptions { dir, port, log: log(state, "alertmanager") }
    }

    /// The installed file with these ports, asking more often.
    fn config(self) -> String {
        let told = format!("127.0.0.1:{}", self.alertmanager);
        let filled = CONFIG.replace(INSTALLED_ALERTMANAGER, &told);
        QUICKER.iter().fold(filled, |text, (installed, quicker)| text.replace(installed, quicker))
    }
}

impl Observers {
    /// Finds or builds them, telling how far it is.
    pub(super) async fn ensure(tell: Teller) -> Result<Result<Observers, Unavailable>, Failure> {
        let work = tokio::task::spawn_blocking(move || {
            let (places, mut last) = (Places::default(), None);
            let progress = &mut |now: &servers::Progress<'_>| tell.building(now, &mut last);
            let prometheus = PrometheusPrograms::ensure(&places, progress)?;
            let alertmanager = AlertmanagerPrograms::ensure(&places, progress)?;
            Ok(Observers { prometheus, alertmanager })
        });
        work.await.map_err(|error| Failure::caused("finding Prometheus", &error))
    }

    /// Programs for people, with the names that they have in `bin`.
    pub(super) fn tools(&self) -> [(&'static str, &Path); 2] {
        [("promtool", &self.prometheus.promtool), ("amtool", &self.alertmanager.amtool)]
    }
}

impl World {
    /// Starts what is missing of them, Alertmanager first: what it misses it hears a minute later.
    pub(super) async fn start_observers(&self) -> Result<(), Failure> {
        let (Some(programs), Some(ports)) = (&self.observers, self.layout.observers) else {
            return Ok(());
        };
        let folder = folder(&self.place.state);
        write(&folder.join("rules.yaml"), RULES)?;
        write(&folder.join("prometheus.yaml"), &ports.config())?;
        write(&folder.join("alertmanager.yaml"), ALERTMANAGER_CONFIG)?;
        let one = ports.alertmanager(&self.place.state);
        let started = self.launch("alertmanager", &one.launch(&programs.alertmanager))?;
        self.ready("alertmanager", &one.endpoint(), started, || one.is_ready()).await?;
        let one = ports.prometheus(&self.place.state);
        let started = self.launch("prometheus", &one.launch(&programs.prometheus))?;
        self.ready("prometheus", &one.endpoint(), started, || one.is_ready()).await
    }

    /// Tells Prometheus who is there; it looks every second.
    pub(super) fn write_targets(&self) -> Result<(), Failure> {
        if self.layout.observers.is_none() {
            return Ok(());
        }
        let targets = folder(&self.place.state).join("targets");
        write(&targets.join("agents-dev.yaml"), &agents(&self.layout))?;
        let operator = format!("- targets: [127.0.0.1:{}]\n", self.layout.operator);
        write(&targets.join("operators-dev.yaml"), &operator)
    }
}

/// What a person may ask them.
pub(super) fn commands(ports: ObserverPorts) -> Vec<String> {
    let [prometheus, alertmanager] =
        [ports.prometheus, ports.alertmanager].map(|port| format!("http://127.0.0.1:{port}"));
    vec![
        "./dev pictures   # the boards, drawn as they are now".to_owned(),
        format!("promtool query instant {prometheus} treasurehunt_hunt_converged"),
        format!("amtool --alertmanager.url={alertmanager} alert"),
        format!("PROMETHEUS_URL={prometheus} docker compose -f deploy/grafana/compose.yaml up"),
    ]
}

fn agents(layout: &Layout) -> String {
    let one = |(node, address)| {
        format!("- targets: [{address}]\n  labels: {{hunt: {}, node: {node}}}\n", layout.hunt)
    };
    layout.agents().map(one).collect()
}

fn folder(state: &Path) -> PathBuf {
    state.join("observe")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_installed_file_is_filled_in_and_asks_more_often() {
        let ports = ObserverPorts { prometheus: 1, alertmanager: 4711 };
        let filled = ports.config();
        for (installed, quicker) in QUICKER {
            assert!(CONFIG.contains(installed), "{installed} is not in the installed file");
            assert!(filled.contains(quicker) && !filled.contains(installed), "{filled}");
        }
        assert!(CONFIG.contains(INSTALLED_ALERTMANAGER));
        assert!(filled.contains("targets: [127.0.0.1:4711]"), "{filled}");
    }

    #[test]
    fn every_agent_is_a_target_by_its_names() {
        let layout = Layout::fresh(false, 2).unwrap();
        let port = layout.agents[1].http;
        let expected = format!(
            "- targets: [127.0.0.1:{port}]\n  labels: {{hunt: default/harbour, node: agent-2}}\n"
        );
        assert!(agents(&layout).ends_with(&expected));
        assert_eq!(agents(&layout).matches("- targets").count(), 2);
    }

    #[test]
    fn only_who_does_not_run_gives_its_port_up() {
        let before = ObserverPorts { prometheus: 1, alertmanager: 2 };
        let mut ports = before;
        ports.give_way(|_| true, |_| true).unwrap();
        assert_eq!(ports, before);
        ports.give_way(|name| name == "prometheus", |_| true).unwrap();
        assert_eq!(ports.prometheus, 1);
        assert_ne!(ports.alertmanager, 2);
    }
}
