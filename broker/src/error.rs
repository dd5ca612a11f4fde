//! All that can go wrong with a log, told apart by what the caller must do about it. Pure.

use std::io;
use std::path::{Path, PathBuf};

use config_schemas::{Epoch, Offset};

use crate::kafka::KafkaTrouble;

/// Why a log did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A take-over came too late: this epoch or a newer one is taken. Wait for the map.
    #[error("partition is held under epoch {holds} by {owner}")]
    Superseded {
        /// The newest epoch.
        holds: Epoch,
        /// Who took it.
        owner: String,
    },
    /// A newer owner exists. Nothing of the append is acknowledged; stop serving the partition.
    #[error("a newer owner took the partition under epoch {by}")]
    Fenced {
        /// Its epoch.
        by: Epoch,
    },
    /// The handle was released, or taken again in this process.
    #[error("the log was closed by this process")]
    Closed,
    /// A record is above the bound, or the batch is.
    #[error("{bytes} bytes are more than a record or a batch may have")]
    TooLarge {
        /// How large it is.
        bytes: usize,
    },
    /// A snapshot is about outcomes that no reader believes, or about none at all.
    #[error("the log holds no outcome before offset {offset} that a snapshot could end with")]
    NotInLog {
        /// The first outcome that is not in the snapshot.
        offset: Offset,
    },
    /// The file system refused. Nothing is acknowledged; the log stays readable, and appendable
    /// when the cause has gone.
    #[error("cannot {act} {}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Bytes that were acknowledged are damaged. Retrying does not help: park and tell.
    #[error("{} is corrupt at byte {at}: {why}", file.display())]
    Corrupt {
        /// Which file.
        file: PathBuf,
        /// Where in it.
        at: u64,
        /// What is wrong there.
        why: &'static str,
    },
    /// The Kafka cluster, or the way to it.
    #[error(transparent)]
    Kafka(KafkaTrouble),
}

impl Error {
    pub(crate) fn io(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { act, path, source }
    }

    pub(crate) fn corrupt(file: &Path, at: u64, why: &'static str) -> Error {
        Error::Corrupt { file: file.to_owned(), at, why }
    }

    /// The same error once more: a group of appends fails as one, each is told.
    pub(crate) fn again(&self) -> Error {
        match self {
            Error::Superseded { holds, owner } => {
                Error::Superseded { holds: *holds, owner: owner.clone() }
            }
            Error::Fenced { by } => Error::Fenced { by: *by },
            Error::Closed => Error::Closed,
            Error::TooLarge { bytes } => Error::TooLarge { bytes: *bytes },
            Error::NotInLog { offset } => Error::NotInLog { offset: *offset },
            Error::Io { act, path, source } => {
                let source = match source.raw_os_error() {
                    Some(code) => io::Error::from_raw_os_error(code),
                    None => io::Error::new(source.kind(), source.to_string()),
                };
                Error::Io { act, path: path.clone(), source }
            }
            Error::Corrupt { file, at, why } => Error::Corrupt { file: file.clone(), at: *at, why },
            Error::Kafka(trouble) => Error::Kafka(trouble.clone()),
        }
    }

    /// Whether the same call can succeed later without anything else being done.
    pub fn retryable(&self) -> bool {
        match self {
            Error::Io { .. } => true,
            Error::Kafka(trouble) => trouble.retryable(),
            Error::Superseded { .. }
            | Error::Fenced { .. }
            | Error::Closed
            | Error::TooLarge { .. }
            | Error::NotInLog { .. }
            | Error::Corrupt { .. } => false,
        }
    }

    /// Whether the disk has no room.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Error::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}
