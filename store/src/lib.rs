//! The only user of etcd-client in the workspace. In: endpoints. Out: reads, guarded
//! transactions, a range followed live, a lease session, an election; all typed, all bounded in
//! time. The decisions are pure state machines, the I/O around them is thin.

#![deny(missing_docs)]

mod backoff;
mod connect;
mod election;
mod error;
mod flags;
mod follow;
mod keys;
mod lease;
mod options;
mod read;
mod session;
#[cfg(feature = "sim")]
pub mod sim;
mod txn;

pub use config_schemas::Revision;
pub use connect::Store;
pub use election::{Candidacy, Leadership, campaign};
pub use error::{Cause as ErrorCause, StoreError};
pub use flags::EtcdFlags;
pub use follow::{
    AUDIT_PERIOD, Cause, FollowCounts, FollowOptions, FollowStatus, Follower, Phase, SILENT_AFTER,
    Update, follow,
};
pub use keys::{Change, Entry, KeyRange, LeaseId};
pub use lease::TTL_MIN;
pub use options::{CALL_TIMEOUT, CONNECT_TIMEOUT, StoreOptions, TlsFiles, User};
pub use read::Listing;
pub use session::{
    ATTACHED_MAX, Attached, Claim, Session, SessionError, SessionOptions, SessionStatus,
};
pub use txn::{BYTES_MAX, DECIDE_WITHIN, Guard, OPS_MAX, Txn, Verdict, Write};
