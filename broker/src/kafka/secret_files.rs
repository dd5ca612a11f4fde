//! The text of a Secret from a folder in which each is a folder of its keys, as Kubernetes mounts
//! them. In: a reference. Out: its text, or why it cannot be had, without any of it. I/O, blocking.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use config_schemas::SecretRef;

use super::connection::Secret;

/// Why the text of a Secret cannot be had from a folder. Says nothing of what is in it.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// Nothing is there.
    #[error("there is no such file")]
    Absent,
    /// Something else is there, such as a folder.
    #[error("it is not a file")]
    NoFile,
    /// It is longer than any that the caller could use.
    #[error("it has more than {0} bytes")]
    TooLong(u64),
    /// It is no text.
    #[error("it is not UTF-8 text")]
    NoText,
    /// The system did not give it; its words name no content.
    #[error(transparent)]
    Unreadable(io::Error),
}

/// Reads `<folder>/<name>/<key>`, at most `bytes_max` bytes. A reference holds no separator and no
/// way up; links inside the folder are how a mounted Secret is changed.
pub fn read_secret(
    folder: &Path,
    reference: &SecretRef,
    bytes_max: u64,
) -> Result<Secret, SecretFileError> {
    let why = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => SecretFileError::Absent,
        _ => SecretFileError::Unreadable(error),
    };
    let file = File::open(folder.join(reference.name()).join(reference.key())).map_err(why)?;
    if !file.metadata().map_err(why)?.is_file() {
        return Err(SecretFileError::NoFile);
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(why)?;
    if bytes.len() as u64 > bytes_max {
        return Err(SecretFileError::TooLong(bytes_max));
    }
    String::from_utf8(bytes).map(Secret::new).map_err(|_| SecretFileError::NoText)
}
