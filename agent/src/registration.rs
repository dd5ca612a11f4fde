//! The node's name: claimed on the node's lease, kept, and given up when it is another's; the ack
//! beside it. In: the node's record, acks. Out: keys in etcd, and whether the node bears its name.
//! I/O.

use std::time::Duration;

use config_schemas::documents::{self, Ack, NodeRecord};
use store::{Claim, Entry, Session, SessionError};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::road::chain;

/// How long a name that another process holds is waited for beyond that process's lease, which
/// is as long as ours unless it was configured otherwise.
const NAME_PATIENCE: Duration = Duration::from_secs(10);

/// Whether this node bears its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Not yet: the store has not answered, or an earlier life's lease still runs.
    Registering,
    /// It does.
    Registered,
    /// Another process does.
    Refused {
        /// Who, for a person.
        by: String,
    },
}

/// Keeps a node registered.
pub(crate) struct Registration {
    pub(crate) session: Session,
    pub(crate) node_key: String,
    pub(crate) record: NodeRecord,
    pub(crate) ack_key: String,
    pub(crate) acks: watch::Receiver<Option<Ack>>,
    pub(crate) standing: watch::Sender<Standing>,
}

impl Registration {
    /// Claims the name, then keeps the ack current. Ends when the name is another's.
    pub(crate) async fn run(mut self) {
        if let Err(by) = self.claim().await {
            self.standing.send_replace(Standing::Refused { by });
            return;
        }
        tracing::info!(key = %self.node_key, "registered");
        self.standing.send_replace(Standing::Registered);
        let mut status = self.session.status();
        loop {
            let usurped = status.borrow_and_update().usurped.contains(&self.node_key);
            if usurped {
                let by = "another agent, which registered while this one was cut off".to_owned();
                self.standing.send_replace(Standing::Refused { by });
                return;
            }
            let ack = self.acks.borrow_and_update().clone();
            if let Some(ack) = ack
                && let Err(error) =
                    self.session.update(self.ack_key.clone(), documents::write(&ack)).await
            {
                tracing::warn!(error = %chain(&error), "cannot write the ack");
            }
            tokio::select! {
                changed = self.acks.changed() => if changed.is_err() { return },
                changed = status.wait_for(|status| status.usurped.contains(&self.node_key)) => {
                    if changed.is_err() { return }
                }
            }
        }
    }

    async fn claim(&self) -> Result<(), String> {
        let refused_after = Instant::now() + self.patience();
        loop {
            let instance = self.record.instance.clone();
            let claim = Claim::or_if(move |entry| is_earlier_life(entry, &instance));
            let value = documents::write(&self.record);
            match self.session.attach(self.node_key.clone(), value, claim).await {
                Ok(_) => break,
                Err(SessionError::Taken { by }) => {
                    let holder = describe(&by);
                    tracing::error!(key = %self.node_key, %holder, "the node's name is taken");
                    if Instant::now() >= refused_after {
                        return Err(holder);
                    }
                    tokio::time::sleep(NAME_RETRY).await;
                }
                Err(error) => {
                    tracing::error!(error = %chain(&error), "cannot register");
                    tokio::time::sleep(NAME_RETRY).await;
                }
            }
        }
        let ack = self.acks.borrow().as_ref().map(documents::write).unwrap_or_default();
        let anybodys = Claim::or_if(|_| true);
        match self.session.attach(self.ack_key.clone(), ack, anybodys).await {
            Ok(_) => Ok(()),
            Err(error) => Err(chain(&error)),
        }
    }

    fn patience(&self) -> Duration {
        self.session.status().borrow().ttl + NAME_PATIENCE
    }
}

/// Wait before a name that is taken is asked for again: a lapsed lease frees it within seconds.
const NAME_RETRY: Duration = Duration::from_millis(500);

/// The same instance is this agent's own earlier life, which has ended: its lock is ours now.
/// What is no record of a node holds no name, and neither does what was written without a lease:
/// agents write on theirs alone, so that it was a person.
fn is_earlier_life(entry: &Entry, instance: &str) -> bool {
    let holder = NodeRecord::read(&entry.value, entry.lease.is_some());
    holder.map_or(true, |record| record.instance == instance)
}

fn describe(entry: &Entry) -> String {
    match documents::read::<NodeRecord>(&entry.value) {
        Ok(record) => format!("incarnation {} at {}", record.incarnation, record.http),
        Err(_) => "something that is no record of a node".to_owned(),
    }
}
