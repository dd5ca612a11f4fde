//! Whether this operator leads: stands for election in etcd, and again when it has lost. The
//! guard it hands out fences every write, so a paused leader that wakes up writes nothing. I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use config_schemas::keys::LEADER;
use futures::future::BoxFuture;
use store::{Candidacy, Entry, Guard, Leadership, SessionError, Store, campaign};
use tokio::sync::watch;
use tokio::time::sleep;

/// How long a dead leader blocks the next one.
const LEADER_TTL: Duration = Duration::from_secs(3);
/// Pause after a campaign that failed for good, such as for want of permission.
const CAMPAIGN_PAUSE: Duration = Duration::from_secs(1);

/// This operator's part in the election.
pub(crate) struct Lead {
    store: Store,
    identity: String,
    state: State,
}

enum State {
    Stands(BoxFuture<'static, Result<Leadership, SessionError>>),
    Leads(Leadership, watch::Receiver<bool>),
}

impl Lead {
    pub(crate) fn new(store: &Store, identity: &str) -> Lead {
        let state = State::Stands(stand(store, identity));
        Lead { store: store.clone(), identity: identity.to_owned(), state }
    }

    /// The guard of every write; `None` while another leads.
    pub(crate) fn guard(&self) -> Option<Guard> {
        match &self.state {
            State::Leads(leadership, lost) if !*lost.borrow() => Some(leadership.guard()),
            State::Leads(..) | State::Stands(_) => None,
        }
    }

    /// Whether we led when etcd was last heard of.
    pub(crate) fn led_last(&self, held: &BTreeMap<String, Entry>) -> bool {
        held.get(&holder()).is_some_and(|entry| entry.value == self.identity)
    }

    /// Waits until we begin or cease to lead. Can be cancelled and called again.
    pub(crate) async fn changed(&mut self) {
        match &mut self.state {
            State::Stands(campaign) => match campaign.await {
                Ok(leadership) => {
                    let lost = leadership.lost();
                    tracing::info!(identity = self.identity, "leading");
                    self.state = State::Leads(leadership, lost);
                }
                Err(error) => {
                    tracing::warn!(error = %error, "standing for leader failed");
                    self.state = State::Stands(stand(&self.store, &self.identity));
                    sleep(CAMPAIGN_PAUSE).await;
                }
            },
            State::Leads(_, lost) => {
                // An error says that whoever watched is gone, which is as good as lost.
                let _ = lost.wait_for(|lost| *lost).await;
                tracing::warn!(identity = self.identity, "no longer leading");
                self.state = State::Stands(stand(&self.store, &self.identity));
            }
        }
    }

    /// Hands over at once instead of after the lease.
    pub(crate) async fn resign(self) {
        if let State::Leads(leadership, _) = self.state
            && let Err(error) = leadership.resign().await
        {
            tracing::debug!(error = %error, "the leadership ends with its lease");
        }
    }
}

fn stand(store: &Store, identity: &str) -> BoxFuture<'static, Result<Leadership, SessionError>> {
    let (store, identity) = (store.clone(), Bytes::from(identity.to_owned()));
    let key = holder();
    Box::pin(async move { campaign(&store, Candidacy { key, identity, ttl: LEADER_TTL }).await })
}

fn holder() -> String {
    format!("{LEADER}holder")
}
