//! How a command fails: an exit code that scripts can rely on, a sentence, and what to do next.
//! In: errors of the parts below. Out: `Failure`. Pure.

use std::error::Error;

use store::StoreError;

/// What the exit code says; 0 is success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// It was tried and did not work, or not in time.
    Failed = 1,
    /// What was asked for is wrong; nothing was done.
    BadInput = 2,
    /// It is written, but the fleet, or a part of it, refuses to run it.
    Refused = 3,
    /// etcd, the Kubernetes API or an agent does not answer.
    Unreachable = 4,
}

/// Why a command did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// For scripts.
    pub code: Code,
    /// For people, with the causes behind it.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl Failure {
    /// Without a hint.
    pub fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), hint: None }
    }

    /// What was asked for is wrong.
    pub fn bad_input(message: impl Into<String>) -> Failure {
        Failure::new(Code::BadInput, message)
    }

    /// It did not work.
    pub fn failed(message: impl Into<String>) -> Failure {
        Failure::new(Code::Failed, message)
    }

    /// The same, with what to do next.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Failure {
        Failure { hint: Some(hint.into()), ..self }
    }

    /// A failure to `act`, with all causes.
    pub fn caused(act: &str, error: &(dyn Error + 'static)) -> Failure {
        Failure::failed(format!("{act}: {}", chain(error)))
    }

    /// What etcd's refusal to `act` means to the person who asked.
    pub fn of_store(act: &str, endpoints: &[String], error: &StoreError) -> Failure {
        let message = format!("{act}: {}", rooted(error));
        let at = endpoints.join(", ");
        match error {
            StoreError::Unreachable { .. }
            | StoreError::Timeout
            | StoreError::NoLeader => unreachable(&message, &at),
            StoreError::Broken { .. } => Failure::new(Code::Unreachable, message).hint(format!(
                "something else than etcd may answer at {at}, or it may ask for TLS: --etcd-ca, and \
                 --etcd-cert with --etcd-key. Its endpoints are given with --etcd; `hunt dev up` \
                 starts one on this machine"
            )),
            StoreError::Options { .. } => Failure::bad_input(message)
                .hint("give etcd's endpoints with --etcd http://HOST:PORT[,...]"),
            StoreError::Ambiguous { .. } => Failure::failed(message)
                .hint("it may or may not be written; look with `hunt status` before you repeat it"),
            StoreError::PermissionDenied | StoreError::Unauthenticated { .. } => {
                Failure::failed(message)
                    .hint("give a user that may, with --etcd-user and TREASUREHUNT_ETCD_PASSWORD")
            }
            StoreError::NoSpace => Failure::failed(message)
                .hint("compact and defragment etcd, then `etcdctl alarm disarm`"),
            _ => Failure::failed(message).hint(format!("is it an etcd that answers at {at}?")),
        }
    }
}

/// Nothing answers at `endpoints`.
pub fn unreachable(message: &str, endpoints: &str) -> Failure {
    Failure::new(Code::Unreachable, message).hint(format!(
        "is etcd running at {endpoints}? Give its endpoints with --etcd or TREASUREHUNT_ETCD; \
         `hunt dev up` starts one on this machine"
    ))
}

/// An error with its deepest cause: what lies between is the client's own plumbing.
fn rooted(error: &StoreError) -> String {
    let mut deepest: &(dyn Error + 'static) = error;
    while let Some(next) = deepest.source() {
        deepest = next;
    }
    let (text, root) = (error.to_string(), deepest.to_string());
    if text.contains(&root) { text } else { format!("{text}: {root}") }
}

/// An error with its causes, on one line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: StoreError, code: Code, hint: &str) {
        let failure = Failure::of_store("reading the hunt", &["http://a:1".into()], &error);
        assert_eq!(failure.code, code, "{error:?}");
        assert!(failure.message.starts_with("reading the hunt: "), "{failure:?}");
        let found = failure.hint.unwrap_or_default();
        assert!(found.contains(hint), "{found}");
    }

    #[test]
    fn each_error_of_the_store_has_a_code_and_what_to_do() {
        check(StoreError::Timeout, Code::Unreachable, "http://a:1");
        check(StoreError::NoLeader, Code::Unreachable, "--etcd");
        check(StoreError::PermissionDenied, Code::Failed, "--etcd-user");
        let broken =
            StoreError::Broken { source: std::sync::Arc::new(std::io::Error::other("cut")) };
        check(broken, Code::Unreachable, "--etcd-ca");
        check(StoreError::NoSpace, Code::Failed, "defragment");
        check(StoreError::Options { what: "x".into(), source: None }, Code::BadInput, "--etcd");
        let lost: store::ErrorCause = std::sync::Arc::new(std::io::Error::other("cut"));
        check(StoreError::Ambiguous { source: lost }, Code::Failed, "before you repeat");
    }

    #[test]
    fn causes_are_told_once() {
        let error =
            StoreError::Broken { source: std::sync::Arc::new(std::io::Error::other("cut")) };
        assert_eq!(chain(&error), "the call to etcd broke off: cut");
    }
}
