//! The texts of Secrets, from a folder in which each is a folder of its keys, as Kubernetes mounts
//! them. In: which are in use. Out: their texts, or why one cannot be had. A text is never printed,
//! and leaves this process only inside a client's handshake. I/O, blocking.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use broker::kafka::{Secrets, read_secret};
use config_schemas::SecretRef;

/// Longest text of a key: a chain of certificates is a few kilobytes.
pub const SECRET_BYTES_MAX: u64 = 64 << 10;
/// Looks before a folder counts as being written without end; one swap of a mounted Secret changes
/// all its keys at once, and costs one more look.
const LOOKS_MAX: usize = 4;

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// What was looked for.
    pub wanted: BTreeSet<SecretRef>,
    /// The texts that there are.
    pub secrets: Secrets,
    /// Why there are not more.
    pub problems: BTreeMap<SecretRef, String>,
}

/// Reads all that is `wanted` from `folder`.
pub fn look(folder: Option<&Path>, wanted: &BTreeSet<SecretRef>) -> Found {
    settled(|| look_once(folder, wanted))
}

/// Looks until two looks agree, so that a certificate is not paired with the key of another.
fn settled<T: PartialEq>(mut look: impl FnMut() -> T) -> T {
    let mut found = look();
    for _ in 1..LOOKS_MAX {
        let again = look();
        if again == found {
            break;
        }
        found = again;
    }
    found
}

fn look_once(folder: Option<&Path>, wanted: &BTreeSet<SecretRef>) -> Found {
    let mut found = Found { wanted: wanted.clone(), ..Found::default() };
    for reference in wanted {
        let secret = match folder {
            Some(folder) => {
                let read = read_secret(folder, reference, SECRET_BYTES_MAX);
                read.map_err(|error| error.to_string())
            }
            None => Err("this agent was started without --secrets".to_owned()),
        };
        match secret {
            Ok(secret) => drop(found.secrets.insert(reference.clone(), secret)),
            Err(why) => drop(found.problems.insert(reference.clone(), why)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn references(list: &[&str]) -> BTreeSet<SecretRef> {
        let reference = |at: &&str| {
            let (name, key) = at.split_once('/').unwrap();
            SecretRef::new(name, key).unwrap()
        };
        list.iter().map(reference).collect()
    }

    /// As kubelet lays a Secret out: `key -> ..data/key`, `..data -> ..version`.
    fn mount(secret: &Path, version: &str, keys: &[(&str, &str)]) {
        let dated = secret.join(format!("..{version}"));
        fs::create_dir_all(&dated).unwrap();
        for (key, text) in keys {
            fs::write(dated.join(key), text).unwrap();
            drop(symlink(Path::new("..data").join(key), secret.join(key)));
        }
        symlink(format!("..{version}"), secret.join("..next")).unwrap();
        fs::rename(secret.join("..next"), secret.join("..data")).unwrap();
    }

    #[test]
    fn a_mounted_secret_is_read_and_read_anew_when_it_is_swapped() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("kafka");
        mount(&secret, "one", &[("password", "old"), ("tls.key", "k1")]);
        let wanted = references(&["kafka/password", "kafka/tls.key"]);
        let texts = || {
            let found = look(Some(folder.path()), &wanted);
            assert!(found.problems.is_empty(), "{found:?}");
            found.secrets.values().map(|it| it.reveal().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(texts(), ["old", "k1"]);
        mount(&secret, "two", &[("password", "new"), ("tls.key", "k2")]);
        assert_eq!(texts(), ["new", "k2"]);
    }

    #[test]
    fn what_changes_under_the_look_is_looked_at_again_and_not_for_ever() {
        let check = |seen: &[u32], expected: u32, looks: usize| {
            let mut rest = seen.iter();
            assert_eq!(settled(|| *rest.next().unwrap()), expected, "{seen:?}");
            assert_eq!(seen.len() - rest.len(), looks, "{seen:?}");
        };
        check(&[1, 1, 1, 1, 1], 1, 2);
        check(&[1, 2, 2, 2, 2], 2, 3);
        check(&[1, 2, 3, 4, 5], 4, LOOKS_MAX);
    }

    #[test]
    fn what_cannot_be_read_is_named_without_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("kafka");
        fs::create_dir_all(secret.join("folder")).unwrap();
        fs::write(secret.join("binary"), b"hunter2\xff").unwrap();
        let bytes = usize::try_from(SECRET_BYTES_MAX).unwrap();
        fs::write(secret.join("large"), "x".repeat(bytes + 1)).unwrap();
        fs::write(secret.join("largest"), "x".repeat(bytes)).unwrap();
        let list = ["a/b", "kafka/binary", "kafka/folder", "kafka/large", "kafka/largest"];
        let found = look(Some(folder.path()), &references(&list));
        let said: Vec<_> = found.problems.iter().map(|(at, why)| format!("{at}: {why}")).collect();
        assert_eq!(
            said,
            [
                "a/b: there is no such file",
                "kafka/binary: it is not UTF-8 text",
                "kafka/folder: it is not a file",
                "kafka/large: it has more than 65536 bytes",
            ]
        );
        assert_eq!(found.secrets.len(), 1);
        let none = look(None, &references(&["a/b"]));
        assert!(format!("{none:?}").contains("started without --secrets"), "{none:?}");
    }

    #[test]
    fn a_look_shows_no_secret_when_it_is_printed() {
        let folder = tempfile::tempdir().unwrap();
        mount(&folder.path().join("kafka"), "one", &[("password", "hunter2")]);
        let found = look(Some(folder.path()), &references(&["kafka/password"]));
        assert!(!format!("{found:?}").contains("hunter2"));
    }
}
