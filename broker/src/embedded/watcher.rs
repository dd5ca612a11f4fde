//! Tells readers that somebody wrote to a log's files, in whichever process: inotify, one instance
//! and one thread for all readers of a broker, one watch for each partition that is followed. Only a
//! hint to look: a reader looks without it too, seldom. In: directories. Out: wake-ups. I/O,
//! blocking, on a thread of its own.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use config_schemas::PartitionId;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::sync::watch;

use crate::traits::LogKind;

/// Room for events that are read at once; each takes 16 bytes and a name of up to 80.
const BUFFER_BYTES: usize = 16 << 10;

/// Watches for all readers of a broker. Its thread ends when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Watcher(Arc<Guard>);

struct Guard(Arc<Inner>);

struct Inner {
    inotify: OwnedFd,
    /// On the directory of all partitions: its end wakes the thread for the last time.
    root: i32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    followed: HashMap<i32, Followed>,
    watches: HashMap<PartitionId, i32>,
    ended: bool,
}

/// A partition that is followed.
struct Followed {
    partition: PartitionId,
    readers: usize,
    /// By [`LogKind`].
    stirred: [watch::Sender<()>; 2],
}

/// One log is followed, until dropped.
pub(crate) struct Following {
    inner: Arc<Inner>,
    watch: i32,
    stirred: watch::Receiver<()>,
}

impl Watcher {
    /// For the partitions below `root`.
    pub(crate) fn start(root: &Path) -> io::Result<Watcher> {
        let inotify = inotify::init(CreateFlags::CLOEXEC)?;
        let root = inotify::add_watch(&inotify, root, WatchFlags::DELETE_SELF)?;
        let inner = Arc::new(Inner { inotify, root, state: Mutex::default() });
        let guard = Guard(Arc::clone(&inner));
        thread::Builder::new().name("log-watch".into()).spawn(move || inner.serve())?;
        Ok(Watcher(Arc::new(guard)))
    }

    /// Follows one log in the partition's directory `dir`, which has to be there.
    pub(crate) fn follow(
        &self,
        partition: PartitionId,
        log: LogKind,
        dir: &Path,
    ) -> io::Result<Following> {
        let inner = &self.0.0;
        let mut state = inner.state();
        if state.ended {
            return Err(io::ErrorKind::NotFound.into());
        }
        let watch = match state.watches.get(&partition) {
            Some(watch) => *watch,
            None => {
                let flags = WatchFlags::MODIFY | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
                inotify::add_watch(&inner.inotify, dir, flags)?
            }
        };
        state.watches.insert(partition, watch);
        let stirred = || [watch::Sender::new(()), watch::Sender::new(())];
        let new = || Followed { partition, readers: 0, stirred: stirred() };
        let followed = state.followed.entry(watch).or_insert_with(new);
        followed.readers += 1;
        let stirred = followed.stirred[place(log)].subscribe();
        Ok(Following { inner: Arc::clone(inner), watch, stirred })
    }
}

#[cfg(test)]
impl Watcher {
    /// How many partitions are followed.
    pub(crate) fn watches(&self) -> usize {
        self.0.0.state().watches.len()
    }
}

impl Following {
    /// From here on counts what is new.
    pub(crate) fn seen(&mut self) {
        self.stirred.mark_unchanged();
    }

    /// Returns when the log's files changed since then. `false` when they are followed no more.
    pub(crate) async fn stirred(&mut self) -> bool {
        self.stirred.changed().await.is_ok()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        let Some(followed) = state.followed.get_mut(&self.watch) else { return };
        followed.readers -= 1;
        if followed.readers == 0 {
            state.forget(self.watch);
            // it may be gone with its directory
            let _ = inotify::remove_watch(&self.inner.inotify, self.watch);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.state().ended = true;
        // gone already with its directory: then the thread has ended
        let _ = inotify::remove_watch(&self.0.inotify, self.0.root);
    }
}

impl State {
    fn forget(&mut self, watch: i32) {
        if let Some(followed) = self.followed.remove(&watch) {
            self.watches.remove(&followed.partition);
        }
    }

    fn stir(&self, watch: i32, name: Option<&str>) {
        let Some(followed) = self.followed.get(&watch) else { return };
        for (log, stirred) in LogKind::ALL.iter().zip(&followed.stirred) {
            let is_of = |name: &str| name.starts_with(log.as_str()) && name.ends_with(".log");
            if name.is_none_or(is_of) {
                stirred.send_replace(());
            }
        }
    }
}

impl Inner {
    fn serve(&self) {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut events = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            match events.next() {
                Ok(event) if event.wd() == self.root => break,
                Ok(event) => {
                    let name = event.file_name().and_then(|name| name.to_str().ok());
                    self.take(event.wd(), event.events(), name);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::warn!(%error, "files are followed no more; looking at them instead");
                    break;
                }
            }
        }
        *self.state() = State { ended: true, ..State::default() };
    }

    fn take(&self, watch: i32, what: ReadFlags, name: Option<&str>) {
        let mut state = self.state();
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            state.followed.keys().for_each(|watch| state.stir(*watch, None));
        } else if what.contains(ReadFlags::IGNORED) {
            state.forget(watch);
        } else {
            state.stir(watch, name);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(log: LogKind) -> usize {
    match log {
        LogKind::Events => 0,
        LogKind::Outcomes => 1,
    }
}
