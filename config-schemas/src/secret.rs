//! A reference to a Secret: which one, and which of its keys. All that a resource, a live edit or a
//! log ever holds of a password or a certificate. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

/// Longest name of a Secret, and of a key in it, as Kubernetes has them.
pub(crate) const SECRET_NAME_LEN_MAX: usize = 253;
/// Matches a Secret's name: a DNS subdomain, so that it is no path to elsewhere either.
pub(crate) const SECRET_NAME_PATTERN: &str =
    "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// Matches a key of a Secret; none that begins with two dots, which mean other things in a folder.
pub(crate) const SECRET_KEY_PATTERN: &str = "^[.]?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$";

/// One key of one Secret, in the hunt's own namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct SecretRef {
    name: String,
    key: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    key: String,
}

impl SecretRef {
    /// `None` when one of the two could not be in Kubernetes, or in a folder.
    pub fn new(name: impl Into<String>, key: impl Into<String>) -> Option<SecretRef> {
        let (name, key) = (name.into(), key.into());
        (is_name(&name) && is_key(&key)).then_some(SecretRef { name, key })
    }

    /// The Secret.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which of its keys.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Reads `{name: .., key: ..}`, and nothing besides.
    pub(crate) fn read(written: &Json) -> Option<SecretRef> {
        serde_json::from_value(written.clone()).ok()
    }

    pub(crate) fn to_json(&self) -> Json {
        json!({"name": self.name, "key": self.key})
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.key)
    }
}

impl TryFrom<Written> for SecretRef {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<SecretRef, &'static str> {
        SecretRef::new(written.name, written.key).ok_or("not a name and a key of a Secret")
    }
}

impl From<SecretRef> for Written {
    fn from(reference: SecretRef) -> Written {
        Written { name: reference.name, key: reference.key }
    }
}

fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        let ends =
            |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let bytes = label.as_bytes();
        ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(|b| inner(*b))
    };
    text.len() <= SECRET_NAME_LEN_MAX && text.split('.').all(label)
}

fn is_key(text: &str) -> bool {
    let bare = text.strip_prefix('.').unwrap_or(text);
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    text.len() <= SECRET_NAME_LEN_MAX
        && !bare.is_empty()
        && !bare.starts_with('.')
        && bare.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_name_and_a_key_and_nothing_else() {
        let check = |written: Json, shown: Option<&str>| {
            let read = SecretRef::read(&written).map(|reference| reference.to_string());
            assert_eq!(read.as_deref(), shown, "{written}");
        };
        check(json!({"name": "kafka", "key": "password"}), Some("kafka/password"));
        check(json!({"name": "a.b-c.d", "key": ".tls_1.crt"}), Some("a.b-c.d/.tls_1.crt"));
        for name in ["", "..", ".", "a/b", "-a", "a-", "A", "a..b", "a\n", &"a".repeat(254)] {
            check(json!({"name": name, "key": "password"}), None);
        }
        for key in ["", ".", "..", "..data", "a/b", "a b", "../x", "a\0", &"a".repeat(254)] {
            check(json!({"name": "kafka", "key": key}), None);
        }
        check(json!({"name": "kafka"}), None);
        check(json!({"name": "kafka", "key": "password", "value": "pa55"}), None);
        check(json!("kafka/password"), None);
    }
}
