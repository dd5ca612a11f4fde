//! A development environment that runs: each process started if it is missing, watched until it
//! is ready, ended by its record. In: a layout and programs. Out: running processes. I/O.

use std::path::Path;
use std::time::{Duration, Instant};

use servers::{
    Detached, EtcdPrograms, KafkaPrograms, KubePrograms, Launch, Places, Programs, Stopped,
};
use store::StoreOptions;

use super::kafka;
use super::kube::{CRD, Source};
use super::layout::Layout;
use super::observe::Observers;
use super::place::Place;
use super::tell::Teller;
use crate::failure::{Code, Failure};
use crate::http::Http;
use crate::reach::Etcd;
use crate::shown::elapsed;

/// How often a server is asked whether it is ready.
const POLL: Duration = Duration::from_millis(20);
/// The slowest start, the API server's, takes 20 s beside a compiler.
const READY_LIMIT: Duration = Duration::from_secs(90);
/// How long a process may take to end in order. An agent hands its partitions over first.
pub(super) const GRACE: Duration = Duration::from_secs(15);
/// Lines of a log that an error repeats.
const TAIL_LINES: usize = 12;

/// A running environment.
pub(super) struct World {
    pub(super) place: Place,
    pub(super) layout: Layout,
    pub(super) etcd_programs: EtcdPrograms,
    pub(super) kube_programs: Option<KubePrograms>,
    pub(super) kafka_programs: Option<KafkaPrograms>,
    pub(super) observers: Option<Observers>,
    pub(super) http: Http,
    pub(super) tell: Teller,
}

/// Finds or builds the servers, telling how far it is.
pub(super) async fn programs(tell: Teller) -> Result<Programs, Failure> {
    let work = tokio::task::spawn_blocking(move || {
        let mut last = None;
        Programs::ensure(&Places::default(), &mut |now| tell.building(now, &mut last))
    });
    let ensured = work.await.map_err(|error| Failure::caused("finding the servers", &error))?;
    ensured.map_err(|error| Failure::caused("finding the servers", &error))
}

impl World {
    /// Where the records of processes are.
    pub(super) fn records(&self) -> std::path::PathBuf {
        records(&self.place.state)
    }

    /// etcd as this program asks it.
    pub(super) fn etcd(&self) -> Result<Etcd, Failure> {
        Etcd::open(StoreOptions::plain([self.layout.endpoint()]))
    }

    /// Where hunts are applied.
    pub(super) fn source(&self) -> Source {
        match (self.layout.kube_options(&self.place.state), &self.kube_programs) {
            (Some(kube), Some(programs)) => Source::Kubernetes {
                kubectl: programs.kubectl.clone(),
                kubeconfig: kube.kubeconfig(),
            },
            _ => Source::Directory(Layout::directory(&self.place.state)),
        }
    }

    /// Starts whatever is missing, in the order in which one leans on the other.
    pub(super) async fn start(&self) -> Result<(), Failure> {
        self.start_etcd().await?;
        self.start_kubernetes().await?;
        self.start_kafka().await?;
        self.start_operator().await?;
        let mut started = Vec::new();
        for (name, _) in self.layout.agents() {
            started.push(self.launch(&name, &self.layout.agent_launch(&self.place, &name)?)?);
        }
        for ((name, address), started) in self.layout.agents().zip(started) {
            let url = format!("http://{address}");
            self.ready(&name, &url, started, || self.answers(&address, "/readyz")).await?;
        }
        self.write_targets()?;
        self.start_observers().await
    }

    pub(super) async fn start_etcd(&self) -> Result<(), Failure> {
        let options = self.layout.etcd_options(&self.place.state);
        let started = self.launch("etcd", &options.launch(&self.etcd_programs))?;
        self.ready("etcd", &options.endpoint(), started, || options.is_healthy()).await
    }

    async fn start_kubernetes(&self) -> Result<(), Failure> {
        let state = &self.place.state;
        let options = self.layout.kube_etcd_options(state).zip(self.layout.kube_options(state));
        let (Some((etcd, kube)), Some(programs)) = (options, &self.kube_programs) else {
            return Ok(());
        };
        let started = self.launch("kube-etcd", &etcd.launch(&self.etcd_programs))?;
        self.ready("kube-etcd", &etcd.endpoint(), started, || etcd.is_healthy()).await?;
        kube.prepare()
            .await
            .map_err(|error| Failure::caused("preparing the Kubernetes API", &error))?;
        let started = self.launch("kube-apiserver", &kube.launch(programs))?;
        let ready = || kube.is_ready(programs);
        self.ready("kube-apiserver", &kube.endpoint(), started, ready).await?;
        let source = self.source();
        source.kubectl(&["apply", "-f", "-"], Some(CRD)).await?;
        let established = [
            "wait",
            "--for=condition=Established",
            "crd/treasurehunts.treasurehunt.dev",
            "--timeout=30s",
        ];
        source.kubectl(&established, None).await.map(drop)
    }

    async fn start_operator(&self) -> Result<(), Failure> {
        if self.layout.kubernetes.is_none() {
            let folder = Layout::directory(&self.place.state);
            std::fs::create_dir_all(&folder)
                .map_err(|error| Failure::caused("making the folder of hunts", &error))?;
        }
        let started = self.launch("operator", &self.layout.operator_launch(&self.place)?)?;
        let address = format!("127.0.0.1:{}", self.layout.operator);
        let url = format!("http://{address}");
        self.ready("operator", &url, started, || self.answers(&address, "/readyz")).await
    }

    /// Starts it unless it runs; whether it was started.
    pub(super) fn launch(&self, name: &str, launch: &Launch) -> Result<bool, Failure> {
        match Detached::spawn(&self.records(), name, launch) {
            Ok(_) => Ok(true),
            Err(servers::DetachedError::AlreadyRunning { .. }) => Ok(false),
            Err(error) => Err(Failure::caused(&format!("starting {name}"), &error)),
        }
    }

    /// The record of a process.
    pub(super) fn process(&self, name: &str) -> Result<Detached, Failure> {
        let all = list(&self.place.state)?;
        let found = all.into_iter().find(|process| process.name == name);
        found.ok_or_else(|| Failure::failed(format!("{name} was never started")))
    }

    async fn answers(&self, address: &str, path: &str) -> bool {
        self.http.get(address, path).await.is_ok_and(|answer| answer.status.is_success())
    }

    /// Waits until it answers; tells the end of its log when it does not.
    pub(super) async fn ready<F: Future<Output = bool>>(
        &self,
        name: &str,
        url: &str,
        started: bool,
        mut answers: impl FnMut() -> F,
    ) -> Result<(), Failure> {
        let process = self.process(name)?;
        let began = Instant::now();
        let wait = async {
            while process.is_running() && began.elapsed() < READY_LIMIT {
                if answers().await {
                    return true;
                }
                tokio::time::sleep(POLL).await;
            }
            false
        };
        if self.tell.during(&format!("waiting for {name}"), wait).await {
            let how = match (started, is_outdated(&process)) {
                (true, _) => format!("ready after {}", elapsed(began.elapsed())),
                (false, false) => "runs already".to_owned(),
                (false, true) => "runs already, an older build: `hunt dev down` ends it".to_owned(),
            };
            self.tell.good(name, &format!("{url}  (process {}, {how})", process.pid));
            return Ok(());
        }
        let what = if process.is_running() { "does not answer" } else { "has ended" };
        let log = process.log.display();
        let tail = tail(&process.log, TAIL_LINES);
        Err(Failure::failed(format!("{name} {what}; the end of {log}:\n{tail}")))
    }
}

/// Whether the program was built anew since the process was started.
fn is_outdated(process: &Detached) -> bool {
    let running = std::fs::read_link(format!("/proc/{}/exe", process.pid));
    running.is_ok_and(|running| running.to_string_lossy().ends_with(" (deleted)"))
}

/// Where the records of processes are.
fn records(state: &Path) -> std::path::PathBuf {
    state.join("processes")
}

/// Every process on record, in the order in which one leans on the other.
pub(super) fn list(state: &Path) -> Result<Vec<Detached>, Failure> {
    let mut all = Detached::list(&records(state))
        .map_err(|error| Failure::caused("reading the records of processes", &error))?;
    all.sort_by_key(|process| rank(&process.name));
    Ok(all)
}

fn rank(name: &str) -> (usize, usize) {
    let order = [
        "etcd",
        "kube-etcd",
        "kube-apiserver",
        "kafka",
        "operator",
        "agent",
        "alertmanager",
        "prometheus",
    ];
    let (kind, number) = match name.rsplit_once('-') {
        Some((kind, number)) => (kind, number.parse().ok()),
        None => (name, None),
    };
    let kind = if number.is_some() { kind } else { name };
    let rank = order.iter().position(|known| *known == kind).unwrap_or(order.len());
    (rank, number.unwrap_or(0))
}

/// Ends everything on record, agents first; how many were running.
pub(super) async fn stop_all(state: &Path, tell: Teller) -> Result<usize, Failure> {
    let mut ended = 0;
    let mut trouble = None;
    for process in list(state)?.into_iter().rev() {
        let began = Instant::now();
        let (records, name) = (records(state), process.name.clone());
        // The last broker has nobody left to agree with on its end.
        let grace = if kafka::id_of(&name) == Some(1) { Duration::ZERO } else { GRACE };
        let stop = tokio::task::spawn_blocking(move || Detached::stop(&records, &name, grace));
        let what = format!("ending {}", process.name);
        let stopped = tell.during(&what, stop).await;
        match stopped.map_err(|error| Failure::caused("ending what runs", &error))? {
            Ok(Stopped::NotRunning) => {}
            Ok(how) => {
                ended += 1;
                let word = if how == Stopped::Killed { "killed" } else { "ended" };
                let took = elapsed(began.elapsed());
                tell.good(&process.name, &format!("{word} after {took}"));
            }
            Err(error) => {
                trouble.get_or_insert(Failure::caused("ending what runs", &error));
            }
        }
    }
    trouble.map_or(Ok(ended), Err)
}

/// The last lines of a file.
pub(super) fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Asks until there is an answer, at most `limit`.
pub(super) async fn until<T, F>(
    limit: Duration,
    what: &str,
    mut ask: impl FnMut() -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<Option<T>, Failure>>,
{
    let began = Instant::now();
    loop {
        let answer = ask().await;
        match answer {
            Ok(Some(found)) => return Ok(found),
            // Bad input does not become good by asking again.
            Err(failure) if failure.code == Code::BadInput => return Err(failure),
            trouble if began.elapsed() >= limit => {
                let why = trouble.err().map(|failure| format!(": {}", failure.message));
                let (limit, why) = (elapsed(limit), why.unwrap_or_default());
                return Err(Failure::failed(format!("not seen within {limit}: {what}{why}")));
            }
            _ => tokio::time::sleep(POLL).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_lean_on_is_ended_last() {
        let expected = [
            "etcd",
            "kube-etcd",
            "kube-apiserver",
            "kafka-1",
            "kafka-2",
            "operator",
            "agent-2",
            "agent-10",
            "alertmanager",
            "prometheus",
        ];
        let mut names = expected;
        names.sort_unstable();
        assert_ne!(names, expected);
        names.sort_by_key(|name| rank(name));
        assert_eq!(names, expected);
    }

    #[tokio::test]
    async fn a_wait_is_bounded_and_tells_the_last_trouble() {
        let ask = || async { Err::<Option<()>, _>(Failure::failed("no answer")) };
        let failure = until(Duration::from_millis(1), "the hunt", ask).await.unwrap_err();
        assert_eq!(failure.message, "not seen within 1.0 ms: the hunt: no answer");
        let bad = || async { Err::<Option<()>, _>(Failure::bad_input("no such field")) };
        let failure = until(Duration::from_secs(3600), "the hunt", bad).await.unwrap_err();
        assert_eq!(failure.message, "no such field");
    }
}
