//! Who this agent is: a name that one process at a time may bear, the same agent after a restart,
//! and this life of it. In: the data directory. Out: an identity, held by a lock. I/O.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use config_schemas::documents::Owner;
use config_schemas::{HuntName, NodeName};
use uuid::Uuid;

/// Why this process cannot be that node.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Another process of this machine is.
    #[error("node {node} already runs on this machine: {} is locked by another process", lock.display())]
    AlreadyRuns {
        /// The name.
        node: NodeName,
        /// The lock.
        lock: PathBuf,
    },
    /// The data directory cannot be used.
    #[error("using {} for the node's identity", path.display())]
    Directory {
        /// What could not be used.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Who this agent is.
#[derive(Debug)]
pub struct Identity {
    /// Name and life.
    pub me: Owner,
    /// The same for every life of this agent on this data directory.
    pub instance: String,
    /// Where this node keeps what is its own.
    pub directory: PathBuf,
    /// Held as long as this process lives: the proof that an earlier life has ended.
    _lock: File,
}

/// Becomes `node`: locks its directory below `data_dir`, and reads or makes the instance id.
pub fn assume(
    data_dir: &Path,
    hunt: &HuntName,
    node: &NodeName,
) -> Result<Identity, IdentityError> {
    let directory = data_dir.join("nodes").join(format!("{}.{}.{node}", hunt.namespace, hunt.name));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| IdentityError::Directory { path, source }
    };
    fs::create_dir_all(&directory).map_err(failed(&directory))?;
    let lock_path = directory.join("lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(failed(&lock_path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(IdentityError::AlreadyRuns { node: node.clone(), lock: lock_path });
        }
        Err(TryLockError::Error(source)) => return Err(failed(&lock_path)(source)),
    }
    let instance_path = directory.join("instance");
    let instance = read_or_make(&instance_path).map_err(failed(&instance_path))?;
    let me = Owner { node: node.clone(), incarnation: Uuid::new_v4().to_string() };
    Ok(Identity { me, instance, directory, _lock: lock })
}

fn read_or_make(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Ok(text) if Uuid::parse_str(text.trim()).is_ok() => return Ok(text.trim().to_owned()),
        // Torn by a crash: the id has proved nothing yet, so a new one is as good.
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let instance = Uuid::new_v4().to_string();
    crate::files::replace(path, instance.as_bytes())?;
    Ok(instance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_refused_and_a_second_life_is_the_same_agent() {
        let dir = tempfile::tempdir().unwrap();
        let hunt = HuntName::new("default", "harbour").unwrap();
        let node = NodeName::new("a").unwrap();
        let first = assume(dir.path(), &hunt, &node).unwrap();
        let second = assume(dir.path(), &hunt, &node);
        assert!(matches!(second, Err(IdentityError::AlreadyRuns { .. })));
        let (instance, incarnation) = (first.instance.clone(), first.me.incarnation.clone());
        drop(first);
        let again = assume(dir.path(), &hunt, &node).unwrap();
        assert_eq!(again.instance, instance);
        assert_ne!(again.me.incarnation, incarnation);
    }
}
