//! A child process that dies with its owner: on drop, and, through the kernel's parent-death
//! signal (set by util-linux' `setpriv`), also when this process is killed. I/O.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::launch::{Launch, ProcessError, find_program, log_tail, log_text};
use super::spawner;
use super::stat::{ProcessStat, ProcessState};
use crate::poll;

/// A running child; killed with SIGKILL when dropped.
#[derive(Debug)]
pub struct Guarded {
    child: Child,
    log: PathBuf,
}

impl Guarded {
    /// Starts it. Its log is appended to, so that a restart keeps the history.
    ///
    /// # Errors
    /// When the program or the log file cannot be used.
    pub fn spawn(launch: &Launch) -> Result<Self, ProcessError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let setpriv = find_program(&path, Path::new("setpriv"));
        let wrapper: Vec<&OsStr> = match &setpriv {
            Some(setpriv) => {
                vec![setpriv.as_os_str(), "--pdeathsig".as_ref(), "KILL".as_ref(), "--".as_ref()]
            }
            None => Vec::new(),
        };
        let child = spawner::spawn(launch.command(&wrapper)?)
            .map_err(|source| ProcessError::Spawn { program: launch.program.clone(), source })?;
        Ok(Self { child, log: launch.log.clone() })
    }

    /// Its process id; nobody else's until this value is dropped.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has it not ended yet? A frozen one has not.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGKILL, and waits until it is gone. Twice is the same as once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGSTOP: it keeps its memory and sockets and does nothing. Returns when it has stopped.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn freeze(&mut self) -> Result<(), ProcessError> {
        self.signal(Signal::STOP)?;
        self.reaches(|state| state != ProcessState::Alive).await
    }

    /// SIGCONT: it goes on where it was frozen.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn thaw(&mut self) -> Result<(), ProcessError> {
        self.signal(Signal::CONT)?;
        self.reaches(|state| state != ProcessState::Frozen).await
    }

    /// SIGTERM: asks it to end; see [`Guarded::wait`].
    ///
    /// # Errors
    /// When it has ended.
    pub fn terminate(&mut self) -> Result<(), ProcessError> {
        self.signal(Signal::TERM)
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When it still runs after `within`.
    pub async fn wait(&mut self, within: Duration) -> Result<ExitStatus, ProcessError> {
        let child = &mut self.child;
        let mut status = None;
        poll::until(within, || {
            status = child.try_wait().ok().flatten();
            std::future::ready(status.is_some())
        })
        .await;
        status.ok_or(ProcessError::StillRunning { pid: self.pid(), within })
    }

    /// All that it and its predecessors in the same log wrote, at most the last 16 MiB.
    #[must_use]
    pub fn log_text(&self) -> String {
        log_text(&self.log)
    }

    /// The last lines of its log, for a message.
    #[must_use]
    pub fn log_tail(&self) -> String {
        log_tail(&self.log)
    }

    /// Resident memory; 0 when it has ended.
    #[must_use]
    pub fn rss_bytes(&self) -> u64 {
        ProcessStat::read(self.pid()).map_or(0, |stat| stat.rss_bytes())
    }

    /// User and system time used so far; 0 when it has ended.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        ProcessStat::read(self.pid()).map_or(Duration::ZERO, |stat| stat.cpu_time())
    }

    /// Safe from pid reuse: until we collect the child, its pid stays taken.
    fn signal(&mut self, signal: Signal) -> Result<(), ProcessError> {
        let pid = self.pid();
        let failed = |source| ProcessError::Signal { pid, source };
        let gone = || failed(std::io::Error::other("it has ended"));
        if !self.is_running() {
            return Err(gone());
        }
        let target = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        kill_process(target, signal).map_err(|errno| failed(errno.into()))
    }

    /// Signals arrive a moment after they are sent.
    async fn reaches(&self, wanted: impl Fn(ProcessState) -> bool) -> Result<(), ProcessError> {
        let within = Duration::from_secs(5);
        let pid = self.pid();
        let now = || ProcessStat::read(pid).map_or(ProcessState::Dead, |stat| stat.state);
        if poll::until(within, || std::future::ready(wanted(now()))).await {
            return Ok(());
        }
        Err(ProcessError::StillRunning { pid, within })
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill();
    }
}
