//! Agents at work: the real agent with the built-in hunt, in which each event takes a
//! fixed time of its node, waited and not burned. Two cores cannot be 64 nodes; they can be 64
//! nodes that wait. Out also: when each event was decided, in a file of each agent. I/O.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use agent::options::Options;
use anyhow::Context as _;
use clap::Parser as _;
use config_schemas::{NodeName, Rules};
use events::{Decision, HuntGame, HuntRules, HuntState, Input, Machine, OutcomeRecord, Vocabulary};

/// The bench runs as an agent when it is called so, with the microseconds that an event takes of
/// its node behind it.
const AGENT: &str = "bench-agent-";
/// Shorter waits than this are added up first: a thread that sleeps less is woken late.
const SLEEP_MIN: Duration = Duration::from_millis(1);
/// Two numbers of eight bytes: when the event was due, in milliseconds, and when it was decided,
/// in microseconds, both since 1970.
const NOTE: usize = 16;

static NOTES: OnceLock<Mutex<File>> = OnceLock::new();
static NODE: Mutex<Option<Busy>> = Mutex::new(None);
static SERVICE: OnceLock<Duration> = OnceLock::new();

/// The built-in hunt, at work.
struct Working;

impl Machine for Working {
    const STATE_VERSION: u32 = HuntGame::STATE_VERSION;
    type State = HuntState;
    type Rules = HuntRules;

    fn vocabulary() -> Vocabulary {
        HuntGame::vocabulary()
    }

    fn rules(settings: &Rules) -> HuntRules {
        HuntGame::rules(settings)
    }

    fn decide(state: &HuntState, input: &Input<'_>, rules: &HuntRules) -> Decision {
        tokio::task::block_in_place(work);
        if let Some(due) = input.event.at_millis {
            note(due);
        }
        HuntGame::decide(state, input, rules)
    }

    fn fold(state: &mut HuntState, record: &OutcomeRecord) {
        HuntGame::fold(state, record);
    }

    fn part(state: &HuntState, goes: &dyn Fn(&str) -> bool) -> HuntState {
        HuntGame::part(state, goes)
    }

    fn absorb(state: &mut HuntState, part: HuntState) {
        HuntGame::absorb(state, part);
    }
}

/// A node that does one thing after the other.
#[derive(Debug, Clone, Copy)]
struct Busy {
    /// What it has to do takes until then.
    until: Instant,
    /// So much later than it should have it was woken last.
    late: Duration,
}

/// Waits until the node has done all that came before, and this. A node that is woken late makes
/// up for it with the next event, so that a busy machine does not make it a smaller one.
fn work() {
    let now = Instant::now();
    let service = SERVICE.get().copied().unwrap_or_default();
    let busy = {
        let mut node = NODE.lock().unwrap_or_else(PoisonError::into_inner);
        let before = node.unwrap_or(Busy { until: now, late: Duration::ZERO });
        let free = now.checked_sub(before.late.min(service)).unwrap_or(now);
        let busy = Busy { until: before.until.max(free) + service, late: Duration::ZERO };
        *node = Some(busy);
        busy
    };
    let wait = busy.until.saturating_duration_since(now);
    if wait < SLEEP_MIN.min(service * 10) {
        return;
    }
    std::thread::sleep(wait);
    let mut node = NODE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(node) = node.as_mut().filter(|node| node.until == busy.until) {
        node.late = busy.until.elapsed();
    }
}

fn note(due: u64) {
    let Some(notes) = NOTES.get() else { return };
    let mut bytes = [0; NOTE];
    bytes[..8].copy_from_slice(&due.to_le_bytes());
    bytes[8..].copy_from_slice(&now_micros().to_le_bytes());
    let mut file = notes.lock().unwrap_or_else(PoisonError::into_inner);
    // A note that is missing shows as an event without an outcome.
    let _ = file.write_all(&bytes);
}

fn now_micros() -> u64 {
    u64::try_from(telemetry::clock::now().as_microsecond()).unwrap_or(0)
}

/// The program of agents that take so long for an event, named in `folder`.
pub(crate) fn program(folder: &Path, service: Duration) -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("finding this program")?;
    let path = folder.join(format!("{AGENT}{}", service.as_micros()));
    std::os::unix::fs::symlink(this, &path).context("naming the agents' program")?;
    Ok(path)
}

/// What an event is to take, if this process is to be such an agent.
#[must_use]
pub fn is_agent() -> Option<Duration> {
    let path = std::env::args_os().next().map(PathBuf::from)?;
    let micros = path.file_name()?.to_str()?.strip_prefix(AGENT)?;
    micros.parse().ok().map(Duration::from_micros)
}

/// Is one, until it is told to end.
pub async fn agent(service: Duration) -> ExitCode {
    telemetry::logs::init();
    SERVICE.get_or_init(|| service);
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            crate::say(&format!("the agent ends: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let options = Options::parse();
    let path = notes(&options.data_dir, &options.node);
    std::fs::create_dir_all(&options.data_dir)?;
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    NOTES.set(Mutex::new(file)).ok().context("an agent is one")?;
    Ok(agent::run::run_with::<Working>(options).await?)
}

fn notes(data: &Path, node: &NodeName) -> PathBuf {
    data.join(format!("{node}.notes"))
}

/// An event that was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decided {
    /// When it was due, in milliseconds since 1970.
    pub(crate) due: u64,
    /// When it was decided, in microseconds.
    pub(crate) at: u64,
}

/// All that a node has noted since byte `from`.
pub(crate) fn decided(data: &Path, node: &NodeName, from: u64) -> anyhow::Result<Vec<Decided>> {
    let path = notes(data, node);
    let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let bytes = bytes.get(usize::try_from(from)?..).unwrap_or_default();
    let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or_default();
    let read = |note: &[u8]| Decided { due: number(&note[..8]), at: number(&note[8..]) };
    Ok(bytes.chunks_exact(NOTE).map(read).collect())
}

/// How much a node has noted, in bytes.
pub(crate) fn noted(data: &Path, node: &NodeName) -> u64 {
    notes(data, node).metadata().map_or(0, |metadata| metadata.len())
}

impl Decided {
    /// When it was due after a beginning, and how long after that it was decided.
    pub(crate) fn span(self, began_millis: u64) -> (Duration, Duration) {
        let due = Duration::from_millis(self.due.saturating_sub(began_millis));
        let after = Duration::from_micros(self.at.saturating_sub(self.due * 1_000));
        (due, after)
    }
}
