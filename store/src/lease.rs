//! The raw lease calls: grant, revoke, renew. In: a lifetime. Out: a lease with the moment until
//! which we may rely on it, counted from when the request was *sent*. I/O.

use std::time::Duration;

use etcd_client::{Client, LeaseKeepAliveStream, LeaseKeeper};
use tokio::time::{Instant, timeout};

use crate::connect::{Store, Use};
use crate::error::{Intent, StoreError, classify};
use crate::keys::LeaseId;
use crate::options::CALL_TIMEOUT;

/// etcd's shortest lease: one and a half election timeouts of its default.
pub const TTL_MIN: Duration = Duration::from_secs(2);

/// A lease, and how long we may believe in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) id: LeaseId,
    pub(crate) ttl: Duration,
    pub(crate) deadline: Instant,
}

/// The lifetime as etcd takes it: whole seconds, rounded up, at least `TTL_MIN`.
pub(crate) fn whole_seconds(ttl: Duration) -> Duration {
    let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
    Duration::from_secs(seconds).max(TTL_MIN)
}

fn lifetime(seconds: i64) -> Option<Duration> {
    u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

impl Store {
    pub(crate) async fn grant(&self, ttl: Duration) -> Result<Granted, StoreError> {
        let seconds = i64::try_from(whole_seconds(ttl).as_secs()).unwrap_or(i64::MAX);
        let sent = Instant::now();
        let answer = self
            .write_call(
                |client: Client| async move { client.lease_client().grant(seconds, None).await },
            )
            .await?;
        let (id, ttl) = (LeaseId::from_etcd(answer.id()), lifetime(answer.ttl()));
        let (Some(id), Some(ttl)) = (id, ttl) else {
            return Err(StoreError::Malformed { what: "a lease without id or lifetime" });
        };
        Ok(Granted { id, ttl, deadline: sent + ttl })
    }

    /// Ends the lease and deletes its keys. Twice is the same as once.
    pub(crate) async fn revoke(&self, id: LeaseId) -> Result<(), StoreError> {
        let revoke =
            |client: Client| async move { client.lease_client().revoke(id.to_etcd()).await };
        match self.write_call(revoke).await {
            Ok(_) | Err(StoreError::LeaseNotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The stream on which a lease is renewed; opened when needed.
#[derive(Debug, Default)]
pub(crate) struct Renewals {
    live: Option<(LeaseId, usize, LeaseKeeper, LeaseKeepAliveStream)>,
}

impl Renewals {
    /// Renews once: until when the lease now lasts. `LeaseNotFound`: it is gone.
    pub(crate) async fn renew(
        &mut self,
        store: &Store,
        lease: &Granted,
    ) -> Result<Instant, StoreError> {
        let sent = Instant::now();
        let ttl = match self.live.take() {
            Some((id, at, mut keeper, mut answers)) if id == lease.id => {
                let exchange = async {
                    keeper.keep_alive().await?;
                    answers.message().await
                };
                let answered = match timeout(CALL_TIMEOUT, exchange).await {
                    Ok(answer) => answer.map_err(|e| classify(e, Intent::Read, store.endpoint())),
                    Err(_) => Err(StoreError::Timeout),
                };
                if answered.as_ref().is_err_and(StoreError::blames_endpoint) {
                    store.rotate(at);
                }
                let ended = StoreError::Malformed { what: "the keepalive stream ended by itself" };
                let ttl = answered?.ok_or(ended)?.ttl();
                self.live = Some((id, at, keeper, answers));
                lifetime(ttl).ok_or(StoreError::LeaseNotFound)?
            }
            _ => {
                let (at, id) = (store.current(), lease.id.to_etcd());
                let open =
                    |client: Client| async move { client.lease_client().keep_alive(id).await };
                let opened = store.call_at(at, Use::Streams, Intent::Read, &open).await?;
                self.live = Some((lease.id, at, opened.0, opened.1));
                lease.ttl
            }
        };
        Ok(sent + ttl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_whole_seconds_and_never_below_etcds_floor() {
        for (asked, given) in [(0, 2), (500, 2), (2_000, 2), (2_001, 3), (10_000, 10)] {
            let given = Duration::from_secs(given);
            assert_eq!(whole_seconds(Duration::from_millis(asked)), given, "{asked}");
        }
        assert_eq!(lifetime(0), None);
        assert_eq!(lifetime(-1), None);
    }
}
