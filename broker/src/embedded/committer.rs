//! The few threads that write and sync for all logs of a process. In: logs with something to
//! write, each at most once in line. Out: answered appends. I/O, blocking.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use crate::embedded::log::{After, Log};

/// How many logs are written and synced at once. Syncs wait for the disk, not for a core, and the
/// file system's journal merges those that run together.
pub(crate) const COMMIT_THREADS: usize = 8;
/// How many logs keep their file open between commits; the others open it for each.
const OPEN_FILES_MAX: usize = 256;

/// Hands logs to commit threads, which end when the last `Committer` is dropped.
#[derive(Clone)]
pub(crate) struct Committer {
    line: Arc<Line>,
    _guard: Arc<Guard>,
}

#[derive(Default)]
struct Line {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    logs: VecDeque<Arc<Log>>,
    /// Those that were committed lately and hold their file open, oldest first.
    open: VecDeque<Arc<Log>>,
    ended: bool,
}

struct Guard(Arc<Line>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        self.0.wake.notify_all();
    }
}

impl Committer {
    pub(crate) fn start(threads: usize) -> io::Result<Committer> {
        let line = Arc::new(Line::default());
        // made before the threads, so that a failure to start one ends the others
        let guard = Arc::new(Guard(Arc::clone(&line)));
        for number in 0..threads {
            let line = Arc::clone(&line);
            thread::Builder::new()
                .name(format!("log-commit-{number}"))
                .spawn(move || line.serve())?;
        }
        Ok(Committer { line, _guard: guard })
    }

    /// Puts a log in line. Only for logs that say that they are not in line yet.
    pub(crate) fn schedule(&self, log: Arc<Log>) {
        self.line.push(log);
    }
}

impl Line {
    fn push(&self, log: Arc<Log>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).logs.push_back(log);
        self.wake.notify_one();
    }

    fn serve(&self) {
        while let Some(log) = self.next() {
            match log.commit() {
                After::More => self.push(log),
                After::Idle => self.keep_open(log),
            }
        }
    }

    /// The next log; after the end, what is left in line is still written.
    fn next(&self) -> Option<Arc<Log>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(log) = state.logs.pop_front() {
                return Some(log);
            }
            if state.ended {
                return None;
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn keep_open(&self, log: Arc<Log>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.open.iter().any(|open| Arc::ptr_eq(open, &log)) {
            return;
        }
        state.open.push_back(log);
        let oldest = if state.open.len() > OPEN_FILES_MAX { state.open.pop_front() } else { None };
        drop(state);
        if let Some(oldest) = oldest {
            oldest.rest();
        }
    }
}
