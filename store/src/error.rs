//! What can go wrong between us and etcd, as one enum that says whether to try again and
//! whether a write may have happened. In: etcd-client's errors. Out: `StoreError`. Pure.

use std::error::Error;
use std::sync::Arc;

use tonic::Code;

/// The underlying error, shared so that one failure can be told to many waiters.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// Why a call to the store failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The options cannot work: a bad URL, an unreadable certificate.
    #[error("cannot use the store's options: {what}")]
    Options {
        /// What is wrong, in words for a person.
        what: String,
        /// The underlying error.
        #[source]
        source: Option<Cause>,
    },
    /// No connection could be made; nothing was sent.
    #[error("cannot reach etcd at {endpoint}")]
    Unreachable {
        /// The endpoint that was tried last.
        endpoint: String,
        /// The underlying error.
        #[source]
        source: Cause,
    },
    /// The member that we reached sees no leader, so it refused to work.
    #[error("etcd has no leader")]
    NoLeader,
    /// A read had no answer in time.
    #[error("etcd did not answer in time")]
    Timeout,
    /// A read broke off.
    #[error("the call to etcd broke off")]
    Broken {
        /// The underlying error.
        #[source]
        source: Cause,
    },
    /// A write may or may not have happened: read back, then decide; never repeat blindly.
    #[error("the outcome of the write is unknown")]
    Ambiguous {
        /// Why there was no answer.
        #[source]
        source: Cause,
    },
    /// The request is over etcd's size limit (etcd has two codes for it).
    #[error("the request is too large for etcd")]
    TooLarge,
    /// More operations than etcd takes in one transaction.
    #[error("{ops} operations are too many for one transaction")]
    TooManyOps {
        /// How many there were.
        ops: usize,
    },
    /// A transaction that writes one key twice; etcd refuses it.
    #[error("the transaction writes {key} twice")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// etcd's quota is used up: it refuses puts and lease grants until somebody makes room.
    #[error("etcd is out of space")]
    NoSpace,
    /// etcd asks for less traffic.
    #[error("etcd is overloaded")]
    Overloaded,
    /// etcd does not accept who we are, even with a fresh token.
    #[error("etcd does not accept our identity: {reason}")]
    Unauthenticated {
        /// What etcd said.
        reason: String,
    },
    /// A user was configured, but this etcd has authentication switched off.
    #[error("a user is configured, but authentication is switched off in this etcd")]
    AuthDisabled,
    /// etcd knows us, and forbids it.
    #[error("etcd denies permission")]
    PermissionDenied,
    /// The lease is gone, and the keys on it with it.
    #[error("the lease is gone")]
    LeaseNotFound,
    /// The revision asked for was compacted away.
    #[error("the revision was compacted away")]
    Compacted,
    /// etcd refused the request for another reason.
    #[error("etcd refused the request: {reason}")]
    Refused {
        /// What etcd said.
        reason: String,
    },
    /// An answer that etcd's protocol does not allow.
    #[error("etcd's answer makes no sense: {what}")]
    Malformed {
        /// What was wrong with it.
        what: &'static str,
    },
    /// The session was closed, or its task ended, before the call was done.
    #[error("the session is closed")]
    Closed,
}

impl StoreError {
    /// Whether the same call may simply be made again later. An ambiguous write may not: it
    /// has to be read back first.
    pub fn retryable(&self) -> bool {
        match self {
            StoreError::Unreachable { .. }
            | StoreError::NoLeader
            | StoreError::Timeout
            | StoreError::Broken { .. }
            | StoreError::NoSpace
            | StoreError::Overloaded
            | StoreError::Compacted => true,
            StoreError::Options { .. }
            | StoreError::Ambiguous { .. }
            | StoreError::TooLarge
            | StoreError::TooManyOps { .. }
            | StoreError::DuplicateKey { .. }
            | StoreError::Unauthenticated { .. }
            | StoreError::AuthDisabled
            | StoreError::PermissionDenied
            | StoreError::LeaseNotFound
            | StoreError::Refused { .. }
            | StoreError::Malformed { .. }
            | StoreError::Closed => false,
        }
    }

    /// Whether another endpoint could do better.
    pub(crate) fn blames_endpoint(&self) -> bool {
        matches!(
            self,
            StoreError::Unreachable { .. }
                | StoreError::NoLeader
                | StoreError::Timeout
                | StoreError::Broken { .. }
                | StoreError::Ambiguous { .. }
        )
    }

    /// Whether a fresh token could help.
    pub(crate) fn wants_token(&self) -> bool {
        matches!(self, StoreError::Unauthenticated { .. })
    }

    /// A short, constant word per variant: for labels of metrics and for backoff per cause.
    pub fn kind(&self) -> &'static str {
        match self {
            StoreError::Options { .. } => "options",
            StoreError::Unreachable { .. } => "unreachable",
            StoreError::NoLeader => "no_leader",
            StoreError::Timeout => "timeout",
            StoreError::Broken { .. } => "broken",
            StoreError::Ambiguous { .. } => "ambiguous",
            StoreError::TooLarge => "too_large",
            StoreError::TooManyOps { .. } => "too_many_ops",
            StoreError::DuplicateKey { .. } => "duplicate_key",
            StoreError::NoSpace => "no_space",
            StoreError::Overloaded => "overloaded",
            StoreError::Unauthenticated { .. } => "unauthenticated",
            StoreError::AuthDisabled => "auth_disabled",
            StoreError::PermissionDenied => "permission_denied",
            StoreError::LeaseNotFound => "lease_not_found",
            StoreError::Compacted => "compacted",
            StoreError::Refused { .. } => "refused",
            StoreError::Malformed { .. } => "malformed",
            StoreError::Closed => "closed",
        }
    }
}

/// Whether the failed call could have changed the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    Read,
    Write,
}

/// A call that had no answer within our own time limit.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {0:?}")]
pub(crate) struct NoAnswer(pub(crate) std::time::Duration);

pub(crate) fn unanswered(intent: Intent, limit: std::time::Duration) -> StoreError {
    match intent {
        Intent::Read => StoreError::Timeout,
        Intent::Write => StoreError::Ambiguous { source: Arc::new(NoAnswer(limit)) },
    }
}

/// Sorts an error of etcd-client. Codes alone are not enough: etcd uses one code for several
/// things and several codes for one, so the texts of its `rpctypes` are read too.
pub(crate) fn classify(error: etcd_client::Error, intent: Intent, endpoint: &str) -> StoreError {
    match error {
        etcd_client::Error::GRpcStatus(status) => classify_status(status, intent, endpoint),
        // The crate's own words for a first keepalive that was answered with ttl 0.
        etcd_client::Error::LeaseKeepAliveError(said) if said == "lease not found" => {
            StoreError::LeaseNotFound
        }
        other => broken(Arc::new(other), intent),
    }
}

fn broken(source: Cause, intent: Intent) -> StoreError {
    match intent {
        Intent::Read => StoreError::Broken { source },
        Intent::Write => StoreError::Ambiguous { source },
    }
}

pub(crate) fn classify_status(status: tonic::Status, intent: Intent, endpoint: &str) -> StoreError {
    if let Some(known) = classify_text(status.message()) {
        return known;
    }
    match status.code() {
        Code::Unauthenticated => {
            StoreError::Unauthenticated { reason: status.message().to_owned() }
        }
        Code::PermissionDenied => StoreError::PermissionDenied,
        Code::ResourceExhausted => StoreError::Overloaded,
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Unimplemented => StoreError::Refused { reason: status.message().to_owned() },
        Code::Unavailable if never_sent(&status) => {
            StoreError::Unreachable { endpoint: endpoint.to_owned(), source: Arc::new(status) }
        }
        Code::DeadlineExceeded if intent == Intent::Read => StoreError::Timeout,
        // Tonic's own limit. A connection that ends, as with TLS on one side alone, is told as
        // cancelled too, and nobody waited for that.
        Code::Cancelled if intent == Intent::Read && status.message() == "Timeout expired" => {
            StoreError::Timeout
        }
        // OutOfRange is tonic's "message larger than the decode limit": the answer was lost.
        Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Unavailable
        | Code::Unknown
        | Code::OutOfRange
        | Code::Internal
        | Code::Aborted
        | Code::DataLoss
        | Code::Ok => broken(Arc::new(status), intent),
    }
}

/// What etcd's own texts say, wherever they stand: in a status, or in a cancelled watch's
/// reason. `None` for a text that is not known.
pub(crate) fn classify_text(text: &str) -> Option<StoreError> {
    const TABLE: &[(&str, StoreError)] = &[
        ("etcdserver: no leader", StoreError::NoLeader),
        ("request is too large", StoreError::TooLarge),
        ("received message larger than max", StoreError::TooLarge),
        ("database space exceeded", StoreError::NoSpace),
        ("too many requests", StoreError::Overloaded),
        ("authentication is not enabled", StoreError::AuthDisabled),
        ("permission denied", StoreError::PermissionDenied),
        ("requested lease not found", StoreError::LeaseNotFound),
        ("required revision has been compacted", StoreError::Compacted),
    ];
    const TOKEN: &[&str] = &[
        "invalid auth token",
        "revision of auth store is old",
        "user name is empty",
        "invalid user ID or password",
    ];
    if TOKEN.iter().any(|known| text.contains(known)) {
        return Some(StoreError::Unauthenticated { reason: text.to_owned() });
    }
    TABLE.iter().find(|(known, _)| text.contains(known)).map(|(_, error)| error.clone())
}

/// Whether the connection could not even be made, so that no byte of the request left.
fn never_sent(status: &tonic::Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: Code, text: &str, read: &str, write: &str) {
        let of = |intent| classify_status(tonic::Status::new(code, text), intent, "e").kind();
        assert_eq!(of(Intent::Read), read, "{code:?} {text}");
        assert_eq!(of(Intent::Write), write, "{code:?} {text}");
    }

    #[test]
    fn each_code_is_treated_on_purpose() {
        check(Code::Unavailable, "etcdserver: no leader", "no_leader", "no_leader");
        check(Code::Unavailable, "etcdserver: request timed out", "broken", "ambiguous");
        check(Code::Unavailable, "etcdserver: leader changed", "broken", "ambiguous");
        check(Code::Unknown, "h2 protocol error: broken pipe", "broken", "ambiguous");
        check(Code::Cancelled, "Timeout expired", "timeout", "ambiguous");
        check(Code::Cancelled, "operation was canceled", "broken", "ambiguous");
        check(Code::DeadlineExceeded, "context deadline exceeded", "timeout", "ambiguous");
        check(Code::OutOfRange, "Error, decoded message length too large", "broken", "ambiguous");
        check(Code::Internal, "", "broken", "ambiguous");
    }

    #[test]
    fn one_problem_with_two_codes_is_one_variant() {
        check(Code::InvalidArgument, "etcdserver: request is too large", "too_large", "too_large");
        let text = "grpc: received message larger than max (2202 vs. 2000)";
        check(Code::ResourceExhausted, text, "too_large", "too_large");
    }

    #[test]
    fn full_busy_and_denied_are_told_apart() {
        let full = "etcdserver: mvcc: database space exceeded";
        check(Code::ResourceExhausted, full, "no_space", "no_space");
        let busy = "etcdserver: too many requests";
        check(Code::ResourceExhausted, busy, "overloaded", "overloaded");
        let denied = "etcdserver: permission denied";
        check(Code::PermissionDenied, denied, "permission_denied", "permission_denied");
        let gone = "etcdserver: requested lease not found";
        check(Code::NotFound, gone, "lease_not_found", "lease_not_found");
    }

    #[test]
    fn whatever_a_fresh_token_could_mend_is_unauthenticated() {
        for (code, text) in [
            (Code::Unauthenticated, "etcdserver: invalid auth token"),
            (Code::InvalidArgument, "etcdserver: revision of auth store is old"),
            (Code::InvalidArgument, "etcdserver: user name is empty"),
            (Code::Unknown, "rpc error: code = Unauthenticated desc = invalid auth token"),
        ] {
            check(code, text, "unauthenticated", "unauthenticated");
        }
        let off = "etcdserver: authentication is not enabled";
        check(Code::FailedPrecondition, off, "auth_disabled", "auth_disabled");
    }

    #[test]
    fn an_ambiguous_write_is_never_simply_repeated() {
        assert!(!unanswered(Intent::Write, std::time::Duration::ZERO).retryable());
        assert!(unanswered(Intent::Read, std::time::Duration::ZERO).retryable());
    }
}
