//! The names and numbers that every part speaks in, each its own type so that one cannot be
//! handed in for another. In: text that a person or etcd supplied. Out: a value that is known
//! to be well formed, or a `NameError`. Pure.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest namespace, hunt or node name: Kubernetes' limit for a label (RFC 1123).
pub const NAME_LEN_MAX: usize = 63;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{kind} {text:?} is not a name: lower-case letters, digits and '-', starting and ending with a letter or digit, at most {NAME_LEN_MAX} characters"
)]
pub struct NameError {
    kind: &'static str,
    text: String,
}

fn is_label(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.len() <= NAME_LEN_MAX
        && edge(text.chars().next())
        && edge(text.chars().last())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// Shared text: a node's name stands in the record of each partition that it has.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the text against RFC 1123's label.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                if is_label(&text) { Ok(Self(text.into())) } else { Err(NameError { kind: $kind, text }) }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

label!(
    /// A Kubernetes namespace; without Kubernetes, a folder of hunts.
    Namespace, "namespace"
);
label!(
    /// The name of a node: one agent process of a hunt.
    NodeName, "node"
);
label!(
    /// The bare name of a `TreasureHunt` inside its namespace.
    HuntLabel, "hunt"
);

/// A hunt: namespace and name, written `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HuntName {
    /// Where the hunt lives.
    pub namespace: Namespace,
    /// What it is called there.
    pub name: HuntLabel,
}

impl HuntName {
    /// Checks both halves.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Result<Self, NameError> {
        Ok(Self { namespace: Namespace::new(namespace)?, name: HuntLabel::new(name)? })
    }
}

impl std::str::FromStr for HuntName {
    type Err = NameError;
    /// Reads `namespace/name`; a bare `name` is in the namespace `default`.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
        Self::new(namespace, name)
    }
}

impl TryFrom<String> for HuntName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<HuntName> for String {
    fn from(hunt: HuntName) -> String {
        hunt.to_string()
    }
}

impl fmt::Display for HuntName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map($name)
            }
        }
    };
}

number!(
    /// The generation of a `TreasureHunt` resource: only rises.
    Generation(u64)
);
number!(
    /// How often a partition changed owner: only rises, older is refused.
    Epoch(u64)
);
number!(
    /// A partition of a hunt, counted from 0; with Kafka the topic's partition of that number.
    PartitionId(u32)
);
number!(
    /// The place of a record in a partition's log, counted from 0.
    Offset(u64)
);

impl Epoch {
    /// No record holds a higher one: what every reader of JSON takes exactly, and at a thousand
    /// moves a second enough for ever. Without it, one number written by hand ends all counting.
    pub const MAX: Epoch = Epoch(1 << 53);

    /// A record's epoch so far above the one known before was not granted but written by hand:
    /// grants count by one, and a million of them unseen are beyond any outage.
    pub const JUMP_MAX: u64 = 1_000_000;

    /// The same where none is known before: a thousand moves a second reach it in 30 years.
    pub const FIRST_SEEN_MAX: Epoch = Epoch(1 << 40);

    /// The epoch after this one; the last one itself when there is none.
    pub fn next(self) -> Epoch {
        Epoch((self.0 + 1).min(Self::MAX.0))
    }

    /// There is none after it, so nobody can take the partition over any more.
    pub fn is_last(self) -> bool {
        self >= Self::MAX
    }

    /// Whether it can have been granted, after the highest one known so far. Believing one number
    /// written by hand would end all counting.
    pub fn is_believable(self, known: Option<Epoch>) -> bool {
        match known {
            Some(known) => self.0 <= known.0.saturating_add(Self::JUMP_MAX),
            None => self <= Self::FIRST_SEEN_MAX,
        }
    }
}

impl Offset {
    /// The offset after this one.
    pub fn next(self) -> Offset {
        Offset(self.0 + 1)
    }
}

/// A revision of the etcd store. Never 0: a watch from revision 0 or below means something
/// else to etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(NonZeroU64);

impl Revision {
    /// The first revision that a store can have.
    pub const FIRST: Revision = Revision(NonZeroU64::MIN);

    /// `None` for 0.
    pub fn new(revision: u64) -> Option<Revision> {
        NonZeroU64::new(revision).map(Revision)
    }

    /// From etcd's signed form; `None` for 0 and below.
    pub fn from_etcd(revision: i64) -> Option<Revision> {
        u64::try_from(revision).ok().and_then(Revision::new)
    }

    /// In etcd's signed form.
    pub fn to_etcd(self) -> i64 {
        i64::try_from(self.0.get()).unwrap_or(i64::MAX)
    }

    /// The plain number.
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// The revision after this one.
    pub fn next(self) -> Revision {
        Revision(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_an_rfc_1123_label() {
        let long = "a".repeat(NAME_LEN_MAX + 1);
        for good in ["harbour", "agent-1", "0", "a"] {
            assert!(NodeName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a/b", "../x", "a\0", "é", "%2f", &long] {
            assert!(NodeName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_hunt_without_namespace_is_in_default() {
        assert_eq!("harbour".parse::<HuntName>(), HuntName::new("default", "harbour"));
        assert!("a/b/c".parse::<HuntName>().is_err());
    }

    #[test]
    fn an_epoch_that_nobody_granted_is_not_believed() {
        let check = |epoch: u64, known: Option<u64>, expected: bool| {
            assert_eq!(Epoch(epoch).is_believable(known.map(Epoch)), expected, "{epoch} {known:?}");
        };
        check(3, None, true);
        check(3, Some(7), true);
        check(1_000_007, Some(7), true);
        check(1_000_008, Some(7), false);
        check(Epoch::MAX.0, Some(7), false);
        check(Epoch::MAX.0, None, false);
        assert_eq!((Epoch(3).next(), Epoch::MAX.next()), (Epoch(4), Epoch::MAX));
        assert!(Epoch::MAX.is_last() && !Epoch(3).is_last());
    }

    #[test]
    fn revision_zero_cannot_be_said() {
        assert_eq!(Revision::from_etcd(0), None);
        assert_eq!(Revision::from_etcd(-3), None);
        assert_eq!(Revision::from_etcd(3).map(Revision::to_etcd), Some(3));
    }
}
