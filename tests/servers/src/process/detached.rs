//! Processes that outlive the one that started them (`hunt dev up`): each in its own session, each
//! with a record of pid, start time and program in a state folder, and ended later only if the pid
//! is still that very process. I/O, blocking.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::launch::{Launch, ProcessError, find_program};
use super::stat::{ProcessStat, ProcessState, boot_id};

/// How often a process that was told to end is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// After SIGKILL only the kernel's own work is left.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// A detached process as recorded in the state folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detached {
    /// Its name, unique in the state folder.
    pub name: String,
    /// Rises with each start in the state folder; clock ticks are too coarse to tell the order.
    pub serial: u64,
    /// Process id at the start.
    pub pid: u32,
    /// Start time in clock ticks since the machine started: with the pid it names the process.
    pub start_ticks: u64,
    /// Which start of the machine: start times are comparable only within one.
    pub boot_id: String,
    /// The program it runs.
    pub program: PathBuf,
    /// Where its output goes.
    pub log: PathBuf,
}

/// What [`Detached::stop`] found and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// No record, or the recorded process had ended before.
    NotRunning,
    /// It ended by itself within the grace.
    Ended,
    /// It did not, and was killed.
    Killed,
}

/// Why a detached process could not be started, listed or stopped.
#[derive(Debug, thiserror::Error)]
pub enum DetachedError {
    /// The state folder or a record in it could not be used.
    #[error("cannot use {path}")]
    State {
        /// Which file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Under this name a process runs already.
    #[error("{name} runs already as process {pid}")]
    AlreadyRunning {
        /// Which name.
        name: String,
        /// Its process.
        pid: u32,
    },
    /// A name becomes a file name, so it is plain: letters, digits, `-`, `_`, `.`, not first a dot.
    #[error("not a plain name: {0:?}")]
    Name(String),
    /// It could not be started.
    #[error("cannot start {name}")]
    Start {
        /// Which name.
        name: String,
        /// The cause.
        #[source]
        source: ProcessError,
    },
    /// It could not be ended.
    #[error("cannot end {name} (process {pid})")]
    Stop {
        /// Which name.
        name: String,
        /// Its process.
        pid: u32,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl Detached {
    /// Starts `launch` in a session of its own and records it as `name`.
    ///
    /// # Errors
    /// When `name` runs already, or the program cannot be started. Whether it then goes on running
    /// is for the caller to see, by its readiness.
    pub fn spawn(state_dir: &Path, name: &str, launch: &Launch) -> Result<Self, DetachedError> {
        let _lock = lock(state_dir)?;
        if let Some(running) = read(state_dir, name)?.filter(Self::is_running) {
            return Err(DetachedError::AlreadyRunning { name: name.to_owned(), pid: running.pid });
        }
        let failed = |source| DetachedError::Start { name: name.to_owned(), source };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let setsid = find_program(&path, Path::new("setsid"))
            .ok_or_else(|| failed(ProcessError::NoProgram("setsid".into())))?;
        let cannot = |source| ProcessError::Spawn { program: launch.program.clone(), source };
        let started_before = Self::list(state_dir)?.into_iter().map(|record| record.serial).max();
        let program = launch.resolved().map_err(failed)?;
        let mut command = launch.command(&[setsid.as_os_str()]).map_err(failed)?;
        let mut child = command.spawn().map_err(cannot).map_err(failed)?;
        // Not yet collected by us, so it has a start time even if it has ended already.
        let start_ticks = ProcessStat::read(child.id())
            .ok_or_else(|| failed(cannot(io::Error::other("it is not in /proc"))))?
            .start_ticks;
        let record = Self {
            name: name.to_owned(),
            serial: started_before.unwrap_or_default().saturating_add(1),
            pid: child.id(),
            start_ticks,
            boot_id: boot_id(),
            program,
            log: launch.log.clone(),
        };
        // Without a record nobody could end it later.
        write(state_dir, &record).inspect_err(|_| drop(child.kill()))?;
        Ok(record)
    }

    /// All recorded processes, running or not, in the order of their start.
    ///
    /// # Errors
    /// When the folder or a record cannot be read; a missing folder is an empty list.
    pub fn list(state_dir: &Path) -> Result<Vec<Self>, DetachedError> {
        let at_folder = |source| at(state_dir, source);
        let entries = match std::fs::read_dir(state_dir) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(at_folder)?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let file_name = entry.map_err(at_folder)?.file_name();
            let name = file_name.to_string_lossy();
            if let Some(name) = name.strip_suffix(".json") {
                found.extend(read(state_dir, name)?);
            }
        }
        found.sort_by_key(|record| record.serial);
        Ok(found)
    }

    /// Ends the process recorded as `name`: SIGTERM, after `grace` SIGKILL; forgets the record.
    /// A pid that now belongs to another process is left alone. Twice is the same as once.
    ///
    /// # Errors
    /// When the record cannot be used, or the process cannot be signalled.
    pub fn stop(state_dir: &Path, name: &str, grace: Duration) -> Result<Stopped, DetachedError> {
        let Some(record) = read(state_dir, name)? else {
            return Ok(Stopped::NotRunning);
        };
        let stopped = record.end(grace).map_err(|source| DetachedError::Stop {
            name: name.to_owned(),
            pid: record.pid,
            source,
        })?;
        let file = record_path(state_dir, name)?;
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&file, error)),
            _ => Ok(stopped),
        }
    }

    /// Ends all recorded processes, the newest first: what was started last leans on the others.
    ///
    /// # Errors
    /// The first failure; the others are ended all the same.
    pub fn stop_all(
        state_dir: &Path,
        grace: Duration,
    ) -> Result<Vec<(String, Stopped)>, DetachedError> {
        let mut stopped = Vec::new();
        let mut failure = None;
        for record in Self::list(state_dir)?.into_iter().rev() {
            match Self::stop(state_dir, &record.name, grace) {
                Ok(how) => stopped.push((record.name, how)),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(stopped), Err)
    }

    /// Is it still that process, and not dead? A frozen one still is.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.boot_id == boot_id()
            && ProcessStat::read(self.pid).is_some_and(|stat| {
                stat.state != ProcessState::Dead && stat.start_ticks == self.start_ticks
            })
    }

    /// SIGKILL, and waits until it is gone; the record stays, so that `name` can be restarted.
    ///
    /// # Errors
    /// When the process cannot be signalled.
    pub fn kill(&self) -> Result<Stopped, DetachedError> {
        self.end(Duration::ZERO).map_err(|source| DetachedError::Stop {
            name: self.name.clone(),
            pid: self.pid,
            source,
        })
    }

    /// SIGSTOP: it runs no more until it is thawed or ended.
    ///
    /// # Errors
    /// When it has ended, or cannot be signalled.
    pub fn freeze(&self) -> io::Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT: it goes on where it was frozen.
    ///
    /// # Errors
    /// When it has ended, or cannot be signalled.
    pub fn thaw(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let ended = || io::Error::other(format!("{} has ended", self.name));
        send(&self.handle().ok_or_else(ended)?, signal)
    }

    /// The pidfd is opened before the identity is checked: from then on it cannot be mistaken.
    fn handle(&self) -> Option<OwnedFd> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let handle = pidfd_open(pid.filter(|_| self.is_running())?, PidfdFlags::empty()).ok()?;
        self.is_running().then_some(handle)
    }

    fn end(&self, grace: Duration) -> io::Result<Stopped> {
        let Some(handle) = self.handle() else { return Ok(Stopped::NotRunning) };
        if !grace.is_zero() {
            // A frozen process cannot end before it goes on.
            for signal in [Signal::TERM, Signal::CONT] {
                send(&handle, signal)?;
            }
            if self.gone_within(grace) {
                return Ok(Stopped::Ended);
            }
        }
        send(&handle, Signal::KILL)?;
        if self.gone_within(KILL_LIMIT) {
            return Ok(Stopped::Killed);
        }
        Err(io::Error::other("it is still there after SIGKILL"))
    }

    fn gone_within(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.is_running() {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(POLL_INTERVAL);
        }
        true
    }
}

/// A process that has just ended needs no signal.
fn send(handle: &impl std::os::fd::AsFd, signal: Signal) -> io::Result<()> {
    match pidfd_send_signal(handle, signal) {
        Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn record_path(state_dir: &Path, name: &str) -> Result<PathBuf, DetachedError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        return Err(DetachedError::Name(name.to_owned()));
    }
    Ok(state_dir.join(format!("{name}.json")))
}

fn read(state_dir: &Path, name: &str) -> Result<Option<Detached>, DetachedError> {
    let path = record_path(state_dir, name)?;
    match std::fs::read(&path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
        bytes => bytes
            .and_then(|bytes| Ok(serde_json::from_slice(&bytes)?))
            .map(Some)
            .map_err(|source| at(&path, source)),
    }
}

/// Written beside and renamed: a reader sees a whole record or none.
fn write(state_dir: &Path, record: &Detached) -> Result<(), DetachedError> {
    let path = record_path(state_dir, &record.name)?;
    let beside = state_dir.join(format!(".{}.new", record.name));
    serde_json::to_vec_pretty(record)
        .map_err(io::Error::from)
        .and_then(|bytes| std::fs::write(&beside, bytes))
        .and_then(|()| std::fs::rename(&beside, &path))
        .map_err(|source| at(&path, source))
}

/// Two at once may not both find a name free.
fn lock(state_dir: &Path) -> Result<File, DetachedError> {
    let path = state_dir.join(".lock");
    std::fs::create_dir_all(state_dir)
        .and_then(|()| File::options().create(true).append(true).open(&path))
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|source| at(&path, source))
}

fn at(path: &Path, source: io::Error) -> DetachedError {
    DetachedError::State { path: path.to_owned(), source }
}
