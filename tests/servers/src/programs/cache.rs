//! Where built programs are kept: the cache's folder, the key of one set of pins, the lock that
//! makes concurrent builders safe. Choosing is pure; making folders and locks is I/O.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::{ProgramsError, Progress, Step};

/// How often a lock that another builder holds is tried.
const LOCK_INTERVAL: Duration = Duration::from_millis(500);
/// Hexadecimal digits of the key: enough to tell sets of pins apart, short enough to read.
const KEY_DIGITS: usize = 16;

/// The cache's folder, from the variables of the environment.
pub(super) fn root(variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let named = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("TREASUREHUNT_CACHE")
        .or_else(|| Some(named("XDG_CACHE_HOME")?.join("treasurehunt")))
        .or_else(|| Some(named("HOME")?.join(".cache/treasurehunt")))
        .unwrap_or_else(|| std::env::temp_dir().join("treasurehunt-cache"))
}

/// Names the folder of one set of sources and flags: another pin, another folder.
pub(super) fn key(parts: &[(&str, &str)]) -> String {
    let mut hash = Sha256::new();
    for (name, text) in parts {
        for part in [name, text] {
            hash.update(part.len().to_le_bytes());
            hash.update(part.as_bytes());
        }
    }
    let digest = hash.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()[..KEY_DIGITS].to_owned()
}

/// Takes the folder's lock, telling `progress` while another process holds it. The lock goes with
/// the returned file, also when this process is killed.
pub(super) fn lock(
    folder: &Path,
    program: &str,
    progress: &mut dyn FnMut(&Progress<'_>),
) -> Result<File, ProgramsError> {
    let path = folder.join("lock");
    let failed = |source| ProgramsError::Cache { path: path.clone(), source };
    let file = open(&path).map_err(failed)?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                progress(&Progress { program, elapsed: began.elapsed(), step: Step::Waiting });
                sleep(LOCK_INTERVAL);
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    File::options().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &[(&str, &str)], expected: &str) {
        let found = root(|name| {
            let value = variables.iter().find(|(known, _)| *known == name);
            value.map(|(_, value)| OsString::from(value))
        });
        assert_eq!(found, PathBuf::from(expected), "{variables:?}");
    }

    #[test]
    fn the_cache_is_where_the_environment_says() {
        let all = [("TREASUREHUNT_CACHE", "/c"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        check(&all, "/c");
        check(&all[1..], "/x/treasurehunt");
        check(&all[2..], "/h/.cache/treasurehunt");
        check(&[("TREASUREHUNT_CACHE", ""), ("HOME", "/h")], "/h/.cache/treasurehunt");
    }

    #[test]
    fn each_change_of_a_pin_gives_another_key() {
        let base = key(&[("go.mod", "a"), ("go.sum", "b")]);
        assert_eq!(base.len(), KEY_DIGITS);
        assert_eq!(base, key(&[("go.mod", "a"), ("go.sum", "b")]));
        for other in [[("go.mod", "a"), ("go.sum", "c")], [("go.mod", "ab"), ("go.sum", "")]] {
            assert_ne!(base, key(&other));
        }
    }
}
