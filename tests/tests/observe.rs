//! Figures and alerts as Prometheus and its tool judge them: the files that are installed, what real
//! binaries show, and what a real Prometheus makes of both.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use config_schemas::FieldPath;
use crds::ConditionKind;
use deploy::{alerts, boards};
use hunt::args::Cli;
use serde_json::Value as Json;
use servers::{AlertmanagerPrograms, Prometheus, PrometheusPrograms};
use telemetry::catalogue::{self, Binary};
use tests::http::metric;
use tests::players::Players;
use tests::wait::until;
use tests::world::{Setup, World, root};

const SOON: Duration = Duration::from_secs(40);
/// What a scrape of an agent may be.
const SCRAPE_BYTES_MAX: usize = 1 << 20;
const PLAYERS: usize = 4;
const SOME: usize = 60;

async fn faultless(programs: &PrometheusPrograms, args: &[&str], input: Option<&str>) {
    let said = programs.check(args, input).await;
    assert!(said.is_ok(), "promtool {args:?}: {}", said.unwrap_err());
}

#[tokio::test]
async fn rules_fire_and_stay_quiet_as_their_trials_say() {
    let Some(programs) = PrometheusPrograms::shared_or_left_out().await else { return };
    let folder = root().join("deploy/prometheus");
    let file = |name: &str| folder.join(name).display().to_string();
    let rules = file("rules.yaml");
    faultless(programs, &["check", "rules", "--lint=all", "--lint-fatal", &rules], None).await;
    faultless(programs, &["test", "rules", &file("rules.test.yaml")], None).await;
    faultless(programs, &["check", "config", &file("prometheus.yaml")], None).await;
    // the tool does judge: a rule that never fires fails its trial
    let broken = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(&rules).unwrap();
    let dead = text.replace("> 0.9", "> 90");
    assert_ne!(dead, text);
    std::fs::write(broken.path().join("rules.yaml"), dead).unwrap();
    let trials = broken.path().join("rules.test.yaml");
    std::fs::copy(file("rules.test.yaml"), &trials).unwrap();
    let judged = programs.check(&["test", "rules", &trials.display().to_string()], None).await;
    assert!(judged.is_err(), "a rule that cannot fire was not found");
}

#[tokio::test]
async fn alertmanager_s_file_routes_alerts_to_people_and_the_watchdog_apart() {
    let Some(programs) = AlertmanagerPrograms::shared_or_left_out().await else { return };
    let file = root().join("deploy/prometheus/alertmanager.yaml").display().to_string();
    programs.check(&["check-config", &file]).await.unwrap();
    for (alert, receiver) in [("TreasureHuntLag", "people"), ("TreasureHuntWatchdog", "watchdog")] {
        let (config, label) = (format!("--config.file={file}"), format!("alertname={alert}"));
        let wanted = format!("--verify.receivers={receiver}");
        programs.check(&["config", "routes", "test", &config, &wanted, &label]).await.unwrap();
    }
    // the tool does judge
    let broken = tempfile::NamedTempFile::new().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(broken.path(), text.replace("- name: people", "- name: nobody")).unwrap();
    let judged = programs.check(&["check-config", &broken.path().display().to_string()]).await;
    assert!(judged.is_err(), "a route to nobody was not found");
}

/// Whoever wants a figure puts it into the catalogue.
#[test]
fn nobody_registers_figures_past_the_catalogue() {
    let crates = ["agent", "broker", "cli", "events", "operator", "store"];
    let mut waiting: Vec<_> = crates.iter().map(|name| root().join(name).join("src")).collect();
    let (mut read, mut past) = (0, Vec::new());
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            // a file that goes away while we look is nobody's mistake
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            read += 1;
            let words = [".register(Box::new(", "prometheus::register", "Opts::new("];
            if words.iter().any(|word| text.contains(word)) {
                past.push(path);
            }
        }
    }
    assert!(read > 200, "only {read} files read");
    assert!(past.is_empty(), "{past:#?}");
}

/// What people are told to type is there.
#[test]
fn every_hunt_command_of_the_runbooks_is_understood() {
    let mut tried = 0;
    for entry in std::fs::read_dir(root().join("docs/runbooks")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text.lines().filter(|line| line.starts_with("hunt ")) {
            let filled = line
                .replace("SECTION.FIELD", "workers.batch")
                .replace("kafka.FIELD", "kafka.bootstrap")
                .replace("GENERATION", "3")
                .replace("VALUE", "64");
            let words = filled.split(' ').map(|word| word.trim_matches('\''));
            // a reason of several words is one word here
            let words: Vec<&str> = match filled.split_once(" --reason ") {
                Some((before, reason)) => {
                    let reason = ["--reason", reason.trim_matches('\'')];
                    before.split(' ').chain(reason).collect()
                }
                None => words.collect(),
            };
            let understood = Cli::try_parse_from(&words);
            assert!(understood.is_ok(), "{}: {line}: {}", path.display(), understood.unwrap_err());
            for field in words.iter().filter(|word| word.contains('.') && !word.contains('/')) {
                assert!(
                    FieldPath::parse(field).is_some(),
                    "{}: no setting {field}",
                    path.display()
                );
            }
            tried += 1;
        }
    }
    assert!(tried > 20, "only {tried} commands found");
}

/// A world at play, and a Prometheus with the installed files that scrapes it.
struct Observed {
    world: World,
    players: Players,
    prometheus: Prometheus,
    _folder: tempfile::TempDir,
}

impl Observed {
    async fn start(programs: &PrometheusPrograms) -> Observed {
        // a lease that outlasts all looks at an agent that is frozen
        let setup = Setup::agents(2).with("heartbeat", "interval", "2s");
        let world = World::start(setup).await.unwrap();
        world.served(SOON).await;
        let players = Players::start(&world, "p", PLAYERS);
        players.goes_on(SOME, SOON).await;
        let folder = tempfile::tempdir().unwrap();
        install(&world, folder.path());
        let prometheus = Prometheus::start(programs, folder.path()).await.unwrap();
        Observed { world, players, prometheus, _folder: folder }
    }

    /// The values that a query finds now, one for each series.
    async fn values(&self, query: &str) -> Result<Vec<f64>> {
        let path = format!("/api/v1/query?query={}", encoded(query));
        let answer = self.world.http.json(self.prometheus.port(), &path).await?;
        ensure!(answer["status"] == "success", "{query}: {answer}");
        let value = |series: &Json| series["value"][1].as_str()?.parse().ok();
        let found = answer["data"]["result"].as_array();
        Ok(found.map_or(Vec::new(), |all| all.iter().filter_map(value).collect()))
    }

    /// How many series a query finds now.
    async fn found(&self, query: &str) -> Result<usize> {
        self.values(query).await.map(|values| values.len())
    }

    /// What the panel of that name shows, of all hunts and nodes.
    async fn shows(&self, title: &str) -> Result<Vec<f64>> {
        let boards = boards::all();
        let mut panels = boards.iter().flat_map(|board| board.panels());
        let panel = panels.find(|panel| panel.title == title).context("no such panel")?;
        self.values(&asked(&panel.queries[0].expr)).await
    }

    /// Whether `hunt check` finds all well.
    async fn is_well(&self) -> bool {
        let etcd = format!("--etcd={}", self.world.members.endpoints().join(","));
        let line = ["hunt", "check", "harbour", &etcd];
        hunt::commands::run(Cli::try_parse_from(line).unwrap()).await.is_ok()
    }
}

/// The installed files, with this world's processes as targets, scraped more often.
fn install(world: &World, folder: &Path) {
    let from = root().join("deploy/prometheus");
    std::fs::copy(from.join("rules.yaml"), folder.join("rules.yaml")).unwrap();
    let config = std::fs::read_to_string(from.join("prometheus.yaml")).unwrap();
    let config = config.replace("_interval: 5s", "_interval: 1s");
    let config = config.replace("evaluation_interval: 15s", "evaluation_interval: 1s");
    std::fs::write(folder.join("prometheus.yaml"), config).unwrap();
    let targets = folder.join("targets");
    std::fs::create_dir_all(&targets).unwrap();
    let agents = world.agents.iter().map(|agent| {
        let (port, hunt, node) = (agent.http, &world.hunt, &agent.name);
        format!("- targets: [127.0.0.1:{port}]\n  labels: {{hunt: {hunt}, node: {node}}}\n")
    });
    std::fs::write(targets.join("agents-test.yaml"), agents.collect::<String>()).unwrap();
    let operators =
        world.operators.iter().map(|one| format!("- targets: [127.0.0.1:{}]\n", one.http));
    std::fs::write(targets.join("operators-test.yaml"), operators.collect::<String>()).unwrap();
}

fn encoded(query: &str) -> String {
    query.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The names of families that a scrape has.
fn families(text: &str) -> BTreeSet<&str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

async fn shows_what_the_catalogue_says(
    programs: &PrometheusPrograms,
    world: &World,
    port: u16,
    binary: Binary,
) {
    let text = world.metrics(port).await.unwrap();
    assert!(text.len() <= SCRAPE_BYTES_MAX, "{} bytes", text.len());
    faultless(programs, &["check", "metrics"], Some(&text)).await;
    let known: BTreeSet<&str> = binary.metrics().map(|metric| metric.name).collect();
    let unknown: Vec<&str> = families(&text).difference(&known).copied().collect();
    assert!(unknown.is_empty(), "{} shows {unknown:?}", binary.as_str());
}

/// As a board asks, with all chosen.
fn asked(expr: &str) -> String {
    ["$hunt", "$node", "$field"]
        .iter()
        .fold(expr.to_owned(), |expr, chosen| expr.replace(chosen, ".*"))
        .replace("$__rate_interval", "30s")
        .replace("$__range", "30s")
}

/// A worker that cannot run what is asked for is seen wherever people look.
async fn a_frozen_agent_is_told(observed: &mut Observed) {
    assert!(observed.is_well().await, "hunt check finds something before anything is wrong");
    observed.world.agents[1].freeze().await.unwrap();
    observed.world.edit("hunt/buffers/events", "777").await.unwrap();
    until("status, board and hunt tell of a frozen agent", SOON, async || {
        let seen = observed.world.status().await?;
        ensure!(!seen.holds(ConditionKind::Converged), "Converged, and one of two is frozen");
        ensure!(seen.status.nodes.is_some_and(|nodes| nodes.stale == 1), "{:?}", seen.status.nodes);
        let shown = observed.shows("Nodes behind").await?;
        ensure!(shown == [1.0], "the board shows {shown:?}");
        ensure!(!observed.is_well().await, "hunt check finds nothing");
        Ok(())
    })
    .await;
    observed.world.agents[1].thaw().await.unwrap();
    until("it is told that all is well again", SOON, async || {
        observed.world.is_converged().await?;
        ensure!(observed.shows("Nodes behind").await? == [0.0] && observed.is_well().await);
        Ok(())
    })
    .await;
}

async fn every_panel_has_data(observed: &Observed) {
    until("every panel has data", SOON, async || {
        let mut bare = Vec::new();
        for board in boards::all() {
            for panel in board.panels() {
                for query in &panel.queries {
                    let asked = asked(&query.expr);
                    if observed.found(&asked).await? == 0 {
                        bare.push(format!("{}: {}: {asked}", board.uid, panel.title));
                    }
                }
            }
        }
        ensure!(bare.is_empty(), "no data: {bare:#?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_binaries_show_what_the_catalogue_says_and_alerts_ask_of_it() {
    let Some(programs) = PrometheusPrograms::shared_or_left_out().await else { return };
    let mut observed = Observed::start(programs).await;
    let world = &observed.world;
    for agent in &world.agents {
        shows_what_the_catalogue_says(programs, world, agent.http, Binary::Agent).await;
    }
    let operator = world.operators[0].http;
    shows_what_the_catalogue_says(programs, world, operator, Binary::Operator).await;
    until("all targets are up and alerting works", SOON, async || {
        ensure!(observed.found("up == 1").await? == 3);
        ensure!(observed.found("ALERTS{alertname=\"TreasureHuntWatchdog\"}").await? == 1);
        Ok(())
    })
    .await;
    for alert in alerts::all() {
        for series in deploy::queries::series(&alert.expr) {
            // what nobody has done yet has no series
            let has_labels = catalogue::find(series).is_some_and(|metric| {
                metric.kind == catalogue::Kind::Gauge && !metric.labels.is_empty()
            });
            let found = observed.found(series).await.unwrap();
            assert!(has_labels || found > 0, "{} asks for {series}", alert.name);
        }
        observed.found(&alert.expr).await.unwrap();
    }
    every_panel_has_data(&observed).await;
    let firing = "ALERTS{alertstate=\"firing\",alertname!=\"TreasureHuntWatchdog\"}";
    assert_eq!(
        observed.found(firing).await.unwrap(),
        0,
        "something is wrong with a hunt that is well"
    );
    let events = observed.world.value(0, "buffers.events").await.unwrap();
    let own = observed.world.metrics(observed.world.agents[0].http).await.unwrap();
    let shown = metric(&own, "treasurehunt_agent_setting{field=\"buffers.events\"}");
    assert_eq!(shown, events.as_f64(), "a board would show another setting than /config");
    a_frozen_agent_is_told(&mut observed).await;
    observed.world.agents[1].kill();
    until("an agent that is gone is noticed", SOON, async || {
        let pending = observed.found("ALERTS{alertname=\"TreasureHuntAgentGone\"}").await?;
        ensure!(pending == 1);
        Ok(())
    })
    .await;
    drop(observed.players);
    observed.world.etcd().kill();
    let port = observed.world.agents[0].http;
    let stale = async |world: &World| {
        let text = world.metrics(port).await?;
        metric(&text, "treasurehunt_watch_staleness_seconds").context("no staleness")
    };
    until("staleness climbs without etcd", SOON, async || {
        let stale = stale(&observed.world).await?;
        ensure!(stale > 3.0, "{stale} s");
        Ok(())
    })
    .await;
    observed.world.etcd().restart().await.unwrap();
    until("it falls when etcd is back", SOON, async || {
        let stale = stale(&observed.world).await?;
        ensure!(stale < 2.0, "{stale} s");
        Ok(())
    })
    .await;
}
