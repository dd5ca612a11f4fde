//! `hunt dev status`: who runs, where, and which generation each agent runs. In: the records of
//! processes, the layout, what etcd says. Out: a view. I/O.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use servers::Detached;
use store::StoreOptions;

use super::kafka::{self, KafkaLayout};
use super::kube::shown;
use super::layout::Layout;
use super::place::Place;
use super::world;
use crate::commands::status::{Status as HuntStatus, status};
use crate::failure::Failure;
use crate::reach::Etcd;
use crate::shown::{Out, Page, Table, Tone, View};

/// The environment.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    /// Every process on record.
    processes: Vec<Process>,
    /// The hunt, when etcd answers.
    hunt: Option<HuntStatus>,
    /// Why there is no hunt to show.
    trouble: Option<String>,
}

#[derive(Debug, Serialize)]
struct Process {
    name: String,
    running: bool,
    /// Of brokers: whether the others count it among those that serve.
    serving: Option<bool>,
    pid: u32,
    url: String,
    log: PathBuf,
    generation: Option<u64>,
    config: Option<&'static str>,
}

pub(super) async fn run(out: Out) -> Result<(), Failure> {
    let place = Place::find()?;
    let Some(layout) = Layout::remembered(&place.state)? else {
        return out.show(&Status { processes: Vec::new(), hunt: None, trouble: None });
    };
    let processes = world::list(&place.state)?;
    let etcd_runs = processes.iter().any(|p| p.name == "etcd" && p.is_running());
    let (hunt, trouble) = if etcd_runs { hunt(&layout).await } else { (None, None) };
    let agents: Vec<_> = layout.agents().collect();
    let serving = serving(&place, &layout, &processes).await;
    let rows = processes.into_iter().map(|process| {
        let node = hunt
            .as_ref()
            .and_then(|hunt| hunt.nodes.iter().find(|node| node.node.as_str() == process.name));
        let running = process.is_running();
        Process {
            url: url(&layout, &agents, &process.name),
            generation: node.and_then(|node| node.generation).map(|generation| generation.0),
            config: node.map(|node| if node.confirmed { "as asked" } else { "differs" }),
            running,
            serving: serving.get(&process.name).copied(),
            pid: process.pid,
            log: process.log,
            name: process.name,
        }
    });
    out.show(&Status { processes: rows.collect(), hunt, trouble })
}

/// Whether each broker that runs also serves.
async fn serving(place: &Place, layout: &Layout, processes: &[Detached]) -> BTreeMap<String, bool> {
    let Some(kafka) = &layout.kafka else { return BTreeMap::new() };
    let options = kafka.options(&place.state);
    let mut found = BTreeMap::new();
    for process in processes.iter().filter(|process| process.is_running()) {
        if let Some(id) = kafka::id_of(&process.name) {
            found.insert(process.name.clone(), options.is_ready(id, &[]).await);
        }
    }
    found
}

async fn hunt(layout: &Layout) -> (Option<HuntStatus>, Option<String>) {
    let read = async {
        let etcd = Etcd::open(StoreOptions::plain([layout.endpoint()]))?;
        etcd.fleet(&layout.hunt).await
    };
    match read.await {
        Ok(fleet) => (Some(status(&fleet, telemetry::clock::now())), None),
        Err(failure) => (None, Some(failure.message)),
    }
}

fn url(layout: &Layout, agents: &[(String, String)], name: &str) -> String {
    let local = |scheme: &str, port: u16| format!("{scheme}://127.0.0.1:{port}");
    match (name, layout.kubernetes) {
        ("etcd", _) => layout.endpoint(),
        ("kube-etcd", Some(ports)) => local("http", ports.etcd.client),
        ("kube-apiserver", Some(ports)) => local("https", ports.api),
        ("operator", _) => local("http", layout.operator),
        _ => {
            let observer = layout.observers.and_then(|observers| observers.url(name));
            let mut brokers = layout.kafka.iter().flat_map(KafkaLayout::brokers);
            let broker = brokers.find(|(broker, ..)| broker == name).map(|(.., address)| address);
            let agent = agents.iter().find(|(agent, _)| agent == name);
            observer.or(broker).or(agent.map(|(_, at)| format!("http://{at}"))).unwrap_or_default()
        }
    }
}

impl View for Status {
    fn text(&self, page: Page) -> String {
        if self.processes.is_empty() {
            return "nothing was started; `hunt dev up` does\n".to_owned();
        }
        let heading = ["PROCESS", "STATE", "PID", "GENERATION", "CONFIG", "URL", "LOG"];
        let mut table = Table::new(heading);
        for process in &self.processes {
            let (state, tone) = match (process.running, process.serving) {
                (true, Some(false)) => ("does not serve", Tone::Odd),
                (true, _) => ("runs", Tone::Good),
                (false, _) => ("ended", Tone::Bad),
            };
            table.toned([
                (process.name.clone(), None),
                (state.to_owned(), Some(tone)),
                (process.pid.to_string(), None),
                (process.generation.map_or("-".into(), |at| at.to_string()), None),
                (process.config.unwrap_or("-").to_owned(), None),
                (process.url.clone(), None),
                (shown(&process.log), None),
            ]);
        }
        let mut text = table.text(page, "");
        if let Some(hunt) = &self.hunt {
            text += "\n";
            text += &hunt.text(page);
        }
        if let Some(trouble) = &self.trouble {
            text += &format!("\n{}\n", page.tint(Tone::Odd, trouble));
        }
        text
    }
}
