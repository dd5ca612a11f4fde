//! The log of this hunt, as soon as it can be had: embedded below the data directory, or a Kafka
//! cluster. In: the resource's id and kind, live settings. Out: an open log. A hunt with an embedded
//! log that was deleted and made anew under its old name has another id and so another directory:
//! nothing of the old one is played again. Topics in Kafka are known by name. I/O at opening.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use broker::{AnyBroker, Embedded, EmbeddedOptions, KafkaBroker, KafkaOptions, Tuning};
use config_schemas::documents::Meta;
use config_schemas::{Broker, BrokerKind, HuntName};
use futures::FutureExt as _;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::config::clients::RetuneKafka;
use crate::config::components::RetuneLog;
use crate::config::road::chain;
use crate::metrics::ClientMetrics;

/// Characters of the id in the directory's name: enough to tell lives of a hunt apart.
const UID_CHARS: usize = 13;

/// First and longest wait before a log that could not be opened is tried again: what is wrong with
/// a directory is mended by people.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Opens a log; tells where logs are kept that are not just in a directory.
pub type Opener = Arc<dyn Fn(EmbeddedOptions) -> Result<Embedded, broker::Error> + Send + Sync>;

/// The log, once known. Cheap to clone.
#[derive(Clone)]
pub struct Log(Arc<Inner>);

struct Inner {
    data_dir: PathBuf,
    hunt: HuntName,
    opener: Opener,
    state: Mutex<State>,
    /// How many open logs were given up.
    given_up: watch::Sender<u64>,
    /// Who counts changes of Kafka's clients.
    figures: OnceLock<ClientMetrics>,
    /// Whoever connects to Kafka or changes how: one after the other.
    connecting: Semaphore,
}

#[derive(Default)]
struct State {
    tuning: Tuning,
    /// Whose log is open, or could not be opened.
    life: Option<Life>,
    /// The cluster that has the hunt's topics, once the operator has found it.
    cluster: Option<String>,
    /// Partitions that the hunt has, whatever its newest resource asks for.
    partitions: Option<u32>,
    open: Option<AnyBroker>,
    failed: Option<Failed>,
}

/// One life of a hunt.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Life {
    uid: String,
    kind: BrokerKind,
}

/// A log that could not be opened.
struct Failed {
    why: String,
    pause: Duration,
    again: Instant,
}

impl Log {
    /// The log of `hunt`: below `data_dir`, if it is embedded.
    pub fn new(data_dir: PathBuf, hunt: HuntName) -> Log {
        Log::opened_by(data_dir, hunt, Arc::new(Embedded::open))
    }

    /// The same, opened in a way of its own.
    pub fn opened_by(data_dir: PathBuf, hunt: HuntName, opener: Opener) -> Log {
        let (state, connecting) = (Mutex::default(), Semaphore::new(1));
        let given_up = watch::Sender::new(0);
        Log(Arc::new(Inner {
            data_dir,
            hunt,
            opener,
            state,
            given_up,
            figures: OnceLock::new(),
            connecting,
        }))
    }

    /// Changes of Kafka's clients are counted from now on; who comes first counts.
    pub fn count_by(&self, figures: ClientMetrics) {
        let _counted = self.0.figures.set(figures);
    }

    /// What takes the embedded log's settings over, live.
    pub fn retune(&self) -> RetuneLog {
        let log = self.clone();
        Arc::new(move |settings: &Broker| {
            let mut state = log.state();
            state.tuning = Tuning { linger: settings.linger, segment_bytes: settings.segment };
            if let Some(AnyBroker::Embedded(open)) = &state.open {
                open.retune(state.tuning);
            }
        })
    }

    /// What takes the settings of Kafka's clients over, live.
    pub fn retune_kafka(&self) -> RetuneKafka {
        let log = self.clone();
        Arc::new(move |wanted| {
            let log = log.clone();
            async move { log.take_over(wanted).await }.boxed()
        })
    }

    /// The resource's id and kind are known. Out: when to call again, if the log cannot be opened.
    /// Calls before that change nothing. Kafka is opened by its settings, as soon as they are known.
    /// A log that is open and is another life's or another cluster's is given up.
    pub(crate) fn know(&self, meta: &Meta, now: Instant) -> Option<Instant> {
        let (uid, kind) = (meta.uid.as_str(), meta.broker);
        let mut state = self.state();
        let life = Life { uid: uid.to_owned(), kind };
        let connected = match &state.open {
            Some(AnyBroker::Kafka(kafka)) => Some(kafka.cluster()),
            _ => None,
        };
        let stays = stays(state.life.as_ref(), &life, connected, meta.cluster.as_deref());
        let gone = state.open.take_if(|_| stays.is_err());
        if state.life.as_ref() != Some(&life) {
            let (tuning, open) = (state.tuning, state.open.take());
            *state = State { tuning, life: Some(life), open, ..State::default() };
        }
        if let Err(Some(why)) = stays {
            tracing::error!(%why, "the connection to Kafka is given up");
            state.failed = Some(Failed { why, pause: RETRY_MAX, again: now + RETRY_MAX });
        }
        state.cluster.clone_from(&meta.cluster);
        state.partitions = Some(meta.partitions);
        let again = match kind {
            BrokerKind::Embedded => self.open(&mut state, uid, now),
            BrokerKind::Kafka => None,
        };
        drop(state);
        if gone.is_some() {
            self.0.given_up.send_modify(|times| *times += 1);
        }
        again
    }

    /// Changes whenever an open log is given up: whoever works on it begins anew, and where it was
    /// Kafka, it has to be connected again though no setting has changed.
    pub fn given_up(&self) -> watch::Receiver<u64> {
        self.0.given_up.subscribe()
    }

    /// Why the log is not open, if that was tried.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.state().failed.as_ref().map(|failed| failed.why.clone())
    }

    /// The open log; `None` while the hunt is unknown or the log cannot be opened.
    pub fn broker(&self) -> Option<AnyBroker> {
        let state = self.state();
        state.life.as_ref().and(state.open.clone())
    }

    fn open(&self, state: &mut State, uid: &str, now: Instant) -> Option<Instant> {
        let again = state.failed.as_ref().map(|failed| failed.again);
        if state.open.is_some() || again.is_some_and(|again| again > now) {
            return again;
        }
        let short: String =
            uid.chars().filter(char::is_ascii_alphanumeric).take(UID_CHARS).collect();
        let directory = self.0.data_dir.join("hunts").join(short);
        match (self.0.opener)(EmbeddedOptions::new(directory, self.0.hunt.clone())) {
            Ok(open) => {
                open.retune(state.tuning);
                state.open = Some(AnyBroker::Embedded(open));
                state.failed = None;
            }
            Err(error) => {
                let why = chain(&error);
                tracing::error!(error = %why, "cannot open the log; trying again");
                let before = state.failed.as_ref().map(|failed| failed.pause * 2);
                let pause = before.unwrap_or(RETRY_MIN).min(RETRY_MAX);
                state.failed = Some(Failed { why, pause, again: now + pause });
            }
        }
        state.failed.as_ref().map(|failed| failed.again)
    }

    /// Connects, or changes how the cluster is used while all goes on. The error says why nothing
    /// has changed; it is tried again by whoever wants it.
    async fn take_over(&self, wanted: Result<KafkaOptions, Vec<String>>) -> Result<(), String> {
        let _one = self.0.connecting.acquire().await.map_err(|error| error.to_string())?;
        let running = match &self.state().open {
            Some(AnyBroker::Kafka(running)) => Some(running.clone()),
            _ => None,
        };
        let (cluster, has) = {
            let state = self.state();
            (state.cluster.clone(), state.partitions)
        };
        let wanted = wanted.map(|options| {
            let partitions = has.unwrap_or(options.partitions);
            KafkaOptions { cluster, partitions, ..options }
        });
        let (began, mut stall) = (Instant::now(), None);
        let done = match (wanted, &running) {
            (Err(problems), _) => Err(problems.join("; ")),
            (Ok(options), Some(running)) => {
                let retuned = running.retune(options.connection, options.settings).await;
                stall =
                    retuned.as_ref().ok().and_then(|retuned| Some(retuned.producer.as_ref()?.gate));
                retuned.map(|_| None).map_err(|error| chain(&error))
            }
            (Ok(options), None) => {
                KafkaBroker::connect(options).await.map(Some).map_err(|error| chain(&error))
            }
        };
        if let Some(figures) = self.0.figures.get() {
            figures.changed(done.is_ok(), began.elapsed(), stall);
        }
        let mut state = self.state();
        // it may have been bound to another meanwhile
        let done = done.and_then(|connected| {
            let cluster = connected.as_ref().map(KafkaBroker::cluster);
            match elsewhere(cluster, state.cluster.as_deref()) {
                Some(why) => Err(why),
                None => Ok(connected),
            }
        });
        match done {
            Ok(connected) => {
                if let Some(kafka) = connected {
                    tracing::info!(cluster = kafka.cluster(), "connected to Kafka");
                    state.open = Some(AnyBroker::Kafka(kafka));
                }
                state.failed = None;
                Ok(())
            }
            Err(why) => {
                if running.is_none() {
                    let (pause, again) = (RETRY_MAX, Instant::now() + RETRY_MAX);
                    state.failed = Some(Failed { why: why.clone(), pause, again });
                }
                Err(why)
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an open log is still the hunt's, where Kafka is `connected` to a cluster, and the operator
/// has found the hunt's topics in the `bound` one. The error says why not, if it is a trouble. What a
/// process remembers of topics is not true of those of another life. Before the first life is known
/// a cluster may be connected to already, by its settings.
fn stays(
    before: Option<&Life>,
    life: &Life,
    connected: Option<&str>,
    bound: Option<&str>,
) -> Result<(), Option<String>> {
    let same = match before {
        Some(before) => before == life,
        None => connected.is_none() || life.kind == BrokerKind::Kafka,
    };
    if !same {
        return Err(None);
    }
    elsewhere(connected, bound).map_or(Ok(()), |why| Err(Some(why)))
}

/// What is wrong with being connected to a cluster, if anything is.
fn elsewhere(connected: Option<&str>, bound: Option<&str>) -> Option<String> {
    let (connected, bound) =
        connected.zip(bound).filter(|(connected, bound)| connected != bound)?;
    Some(format!("this agent reached cluster {connected}, and the hunt's topics are in {bound}"))
}

#[cfg(test)]
impl Log {
    /// The open log, where it is embedded.
    pub(crate) fn embedded(&self) -> Option<Embedded> {
        match self.broker() {
            Some(AnyBroker::Embedded(embedded)) => Some(embedded),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_of_another_life_or_another_cluster_is_given_up() {
        let life = |(uid, kind): (&str, BrokerKind)| Life { uid: uid.to_owned(), kind };
        let check = |before: Option<(&str, BrokerKind)>, now, clusters, stay| {
            let (connected, bound): (Option<&str>, Option<&str>) = clusters;
            let told = stays(before.map(life).as_ref(), &life(now), connected, bound);
            let trouble = told.as_ref().is_err_and(Option::is_some);
            assert_eq!((told.is_ok(), trouble), stay, "{before:?} {now:?} {clusters:?}: {told:?}");
        };
        let (kafka, embedded) = (BrokerKind::Kafka, BrokerKind::Embedded);
        let (stays, goes, troubles) = ((true, false), (false, false), (false, true));
        let there = (Some("x"), Some("x"));
        check(None, ("1", kafka), (Some("x"), None), stays);
        check(None, ("1", kafka), there, stays);
        check(None, ("1", embedded), (Some("x"), None), goes);
        check(None, ("1", embedded), (None, None), stays);
        check(Some(("1", kafka)), ("1", kafka), there, stays);
        check(Some(("1", kafka)), ("1", kafka), (Some("x"), None), stays);
        check(Some(("1", kafka)), ("1", kafka), (None, Some("x")), stays);
        check(Some(("1", kafka)), ("2", kafka), there, goes);
        check(Some(("1", embedded)), ("2", embedded), (None, None), goes);
        check(Some(("1", kafka)), ("1", kafka), (Some("x"), Some("y")), troubles);
        check(None, ("1", kafka), (Some("x"), Some("y")), troubles);
    }
}
