//! The log of this hunt, as soon as the hunt is known. In: the data directory, the resource's id,
//! live settings. Out: an open log. A hunt that was deleted and made anew under its old name has
//! another id and so another directory: nothing of the old one is played again. I/O at opening.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use broker::{Embedded, EmbeddedOptions, Tuning};
use config_schemas::{Broker, HuntName};
use tokio::time::Instant;

use crate::config::components::RetuneLog;
use crate::config::road::chain;

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
}

#[derive(Default)]
struct State {
    tuning: Tuning,
    /// Whose log is open, or could not be opened.
    uid: Option<String>,
    open: Option<Embedded>,
    failed: Option<Failed>,
}

/// A log that could not be opened.
struct Failed {
    why: String,
    pause: Duration,
    again: Instant,
}

impl Log {
    /// The log of `hunt` below `data_dir`.
    pub fn new(data_dir: PathBuf, hunt: HuntName) -> Log {
        Log::opened_by(data_dir, hunt, Arc::new(Embedded::open))
    }

    /// The same, opened in a way of its own.
    pub fn opened_by(data_dir: PathBuf, hunt: HuntName, opener: Opener) -> Log {
        Log(Arc::new(Inner { data_dir, hunt, opener, state: Mutex::default() }))
    }

    /// What takes the log's settings over, live.
    pub fn retune(&self) -> RetuneLog {
        let log = self.clone();
        Arc::new(move |settings: &Broker| {
            let mut state = log.state();
            state.tuning = Tuning { linger: settings.linger, segment_bytes: settings.segment };
            if let Some(open) = &state.open {
                open.retune(state.tuning);
            }
        })
    }

    /// The resource's id is known. Out: when to call again, if the log cannot be opened. Calls
    /// before that change nothing.
    pub(crate) fn know(&self, uid: &str, now: Instant) -> Option<Instant> {
        let mut state = self.state();
        if state.uid.as_deref() != Some(uid) {
            *state = State { tuning: state.tuning, uid: Some(uid.to_owned()), ..State::default() };
        }
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
                state.open = Some(open);
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

    /// Why the log is not open, if that was tried.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.state().failed.as_ref().map(|failed| failed.why.clone())
    }

    /// The open log; `None` while the hunt is unknown or the log cannot be opened.
    pub fn embedded(&self) -> Option<Embedded> {
        self.state().open.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
