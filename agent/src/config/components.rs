//! Everything in this process that takes a setting over. In: an effective configuration and the
//! plan that leads to it. Out: the version that the workers have to reach, and what could not be
//! taken over. Thin: the deciding is done.

use std::sync::Arc;

use config_schemas::diff::Plan;
use config_schemas::layers::Effective;
use config_schemas::{Broker, Component};
use store::Session;

use super::ack::Rejections;
use super::clients::Clients;
use super::live::{Publisher, Version};
use super::switched::Board;
use crate::capacity::queues::Queues;
use crate::capacity::turns::Turns;

/// Takes the log's settings over, at once.
pub type RetuneLog = Arc<dyn Fn(&Broker) + Send + Sync>;

/// The parts that settings reach.
pub struct Components {
    /// What workers and gateway load per batch or request.
    pub publisher: Publisher,
    /// Who has loaded what.
    pub board: Board,
    /// How many partitions are worked on at once.
    pub turns: Turns,
    /// How much may wait.
    pub queues: Queues,
    /// The node's lease.
    pub session: Session,
    /// The log.
    pub log: RetuneLog,
    /// The clients of Kafka.
    pub clients: Clients,
}

/// What became of a plan.
#[derive(Debug)]
pub struct Taken {
    /// What workers have to reach.
    pub version: Version,
    /// What could not be taken over.
    pub rejections: Rejections,
    /// The clients' newest wish; they take it over by themselves, and decide later.
    pub wish: u64,
}

impl Components {
    /// Carries `plan` out. Everything is taken over at once but the lease, which needs the store's
    /// answer, and when that fails the old lease goes on; and the clients of Kafka, which nobody
    /// waits for here.
    pub async fn take_over(&self, effective: &Effective, plan: &Plan, revision: u64) -> Taken {
        let config = &effective.config;
        // Queues first: a worker that sees a larger batch finds room for it.
        if plan.contains_key(&Component::Queues) {
            self.queues.resize(&config.buffers);
        }
        if plan.contains_key(&Component::Workers) {
            self.turns.resize(usize::try_from(config.workers.concurrency).unwrap_or(usize::MAX));
        }
        if plan.contains_key(&Component::Log) {
            (self.log)(&config.broker);
        }
        let wish = self.clients.want(config, plan);
        let version = self.publisher.publish(config.clone(), revision);
        let mut rejections = Rejections::new();
        if plan.contains_key(&Component::Heartbeat) {
            let heartbeat = &config.heartbeat;
            let retuned = self.session.retune(heartbeat.lease(), heartbeat.interval).await;
            if let Err(error) = retuned {
                rejections.insert(Component::Heartbeat, error.to_string());
            }
        }
        Taken { version, rejections, wish }
    }
}
