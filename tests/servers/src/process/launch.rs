//! What to run: program, arguments, environment, log file. Comes in: a description. Goes out: a
//! `std::process::Command` whose output is appended to the log. Opens the log file, nothing else.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How much of a log is read back for a message or an assertion.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Lines of a log that go into an error message.
const TAIL_LINES: usize = 15;

/// A program to run, described but not yet started; starting it twice gives two processes.
#[derive(Debug, Clone)]
pub struct Launch {
    /// A path, or a bare name that is looked up on PATH.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables set on top of the inherited environment.
    pub env: Vec<(OsString, OsString)>,
    /// Inherited variables that it must not see.
    pub env_removed: Vec<OsString>,
    /// Standard output and error are appended here; the folder is made.
    pub log: PathBuf,
}

/// Why a process could not be started or told something.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// No such program.
    #[error("no executable program {0}")]
    NoProgram(PathBuf),
    /// The log file could not be opened.
    #[error("cannot write the log {path}")]
    Log {
        /// Which file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The system refused to start it.
    #[error("cannot start {program}")]
    Spawn {
        /// Which program.
        program: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A signal could not be sent.
    #[error("cannot signal process {pid}")]
    Signal {
        /// Which process.
        pid: u32,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It did not end in time.
    #[error("process {pid} did not end within {within:?}")]
    StillRunning {
        /// Which process.
        pid: u32,
        /// How long it was given.
        within: std::time::Duration,
    },
}

impl Launch {
    /// `program` with its output appended to `log`.
    pub fn new(program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            env_removed: Vec::new(),
            log: log.into(),
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets one variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Hides every inherited variable whose name begins with `prefix`.
    #[must_use]
    pub fn without_env(mut self, prefix: &str) -> Self {
        let names = std::env::vars_os().map(|(name, _)| name);
        self.env_removed.extend(names.filter(|name| name.to_string_lossy().starts_with(prefix)));
        self
    }

    /// The program's full path.
    pub(crate) fn resolved(&self) -> Result<PathBuf, ProcessError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        find_program(&path, &self.program)
            .ok_or_else(|| ProcessError::NoProgram(self.program.clone()))
    }

    /// The command to run it through `wrapper` (a program and its arguments that `exec` the rest),
    /// or directly when `wrapper` is empty.
    pub(crate) fn command(&self, wrapper: &[&OsStr]) -> Result<Command, ProcessError> {
        let program = self.resolved()?;
        let log = self.open_log()?;
        let cannot = |source| ProcessError::Log { path: self.log.clone(), source };
        let mut command = match wrapper.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(&program);
                command
            }
            None => Command::new(&program),
        };
        command
            .args(&self.args)
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .stderr(log.try_clone().map_err(cannot)?)
            .stdout(log);
        for name in &self.env_removed {
            command.env_remove(name);
        }
        Ok(command)
    }

    fn open_log(&self) -> Result<File, ProcessError> {
        let open = || {
            if let Some(folder) = self.log.parent() {
                std::fs::create_dir_all(folder)?;
            }
            File::options().create(true).append(true).open(&self.log)
        };
        open().map_err(|source| ProcessError::Log { path: self.log.clone(), source })
    }
}

/// The executable file that `program` names: itself when it holds a slash, else the first on `path`.
pub(crate) fn find_program(path: &OsStr, program: &Path) -> Option<PathBuf> {
    let is_program = |file: &PathBuf| {
        file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if program.components().count() > 1 {
        return std::path::absolute(program).ok().filter(is_program);
    }
    std::env::split_paths(path).map(|folder| folder.join(program)).find(is_program)
}

/// The text of a log from its end, at most 16 MiB; empty when there is none.
pub(crate) fn log_text(log: &Path) -> String {
    let read = || {
        let mut file = File::open(log)?;
        let skipped = file.metadata()?.len().saturating_sub(LOG_BYTES_MAX);
        file.seek(SeekFrom::Start(skipped))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok::<_, io::Error>(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// The last lines of a log, for a message.
pub(crate) fn log_tail(log: &Path) -> String {
    let text = log_text(log);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
