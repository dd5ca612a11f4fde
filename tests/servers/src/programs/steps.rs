//! What getting any program takes: telling of work that goes on, and of what is wrong with it. Comes
//! in: work, failures. Goes out: progress, sentences. I/O: runs the work, removes folders.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{ProgramsError, Progress, Step, Unavailable};

/// How often the caller hears of a running step.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Does `work`, telling of it, on a runtime of its own: the caller blocks.
pub(super) fn attend<T>(
    program: &str,
    step: Step<'_>,
    progress: &mut dyn FnMut(&Progress<'_>),
    work: impl Future<Output = T>,
) -> Result<T, ProgramsError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|source| ProgramsError::Run { program: program.to_owned(), source })?;
    runtime.block_on(async {
        let began = Instant::now();
        let mut work = std::pin::pin!(work);
        loop {
            if let Ok(done) = timeout(PROGRESS_INTERVAL, &mut work).await {
                return Ok(done);
            }
            progress(&Progress { program, elapsed: began.elapsed(), step });
        }
    })
}

/// Removes a folder, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), ProgramsError> {
    match std::fs::remove_dir_all(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(at(path, source)),
        _ => Ok(()),
    }
}

/// What was wrong, and where.
pub(super) fn at(path: &Path, source: std::io::Error) -> ProgramsError {
    ProgramsError::Cache { path: path.to_owned(), source }
}

/// What could be had, and is broken.
pub(super) fn broken(what: &str, error: &ProgramsError) -> Unavailable {
    let mut reason = format!("{what} is left out: {error}");
    let mut cause = error.source();
    while let Some(deeper) = cause {
        reason += &format!(": {deeper}");
        cause = deeper.source();
    }
    Unavailable { reason, is_fault: true }
}
