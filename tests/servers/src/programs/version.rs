//! Versions: what a program says of itself, parsed (pure) and asked for (I/O).

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Major and minor number; patches do not matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
}

impl Version {
    /// Is it this one or newer?
    #[must_use]
    pub fn at_least(self, major: u32, minor: u32) -> bool {
        self >= Self { major, minor }
    }

    /// The first word of the form `[v|go]<number>.<number>...`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        text.split_whitespace().find_map(|word| {
            let word = word.trim_start_matches("go").trim_start_matches('v');
            let (major, rest) = word.split_once('.')?;
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            Some(Self { major: major.parse().ok()?, minor: rest[..end].parse().ok()? })
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Runs the program with `args` and reads the version from its output.
pub(super) fn ask(program: &Path, args: &[&str]) -> Option<Version> {
    let output = Command::new(program)
        .args(args)
        .env_remove("ETCDCTL_API")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    Version::parse(&String::from_utf8_lossy(&output.stdout))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(u32, u32)>) {
        let expected = expected.map(|(major, minor)| Version { major, minor });
        assert_eq!(Version::parse(text), expected, "{text}");
    }

    #[test]
    fn the_version_is_found_in_what_each_program_says() {
        check("etcd Version: 3.6.16\nGit SHA: Not provided (use ./build)", Some((3, 6)));
        check("etcdctl version: 3.6.16\nAPI version: 3.6", Some((3, 6)));
        check("Kubernetes v1.36.3", Some((1, 36)));
        check("Client Version: v1.32.4-dispatcher\nKustomize Version: v5.5.0", Some((1, 32)));
        check("go version go1.26.8 linux/amd64", Some((1, 26)));
        check("go version go1.27rc1 linux/amd64", Some((1, 27)));
        check("go version devel linux/amd64", None);
        check("", None);
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let version = Version { major: 3, minor: 10 };
        assert!(version.at_least(3, 6) && version.at_least(3, 10));
        assert!(!version.at_least(3, 11) && !version.at_least(4, 0));
    }
}
