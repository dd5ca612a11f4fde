//! Three etcd members on one machine, each of which can be killed, frozen and restarted alone. I/O.

use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::{Etcd, EtcdOptions, temporary_folder};
use crate::poll::ServerError;
use crate::programs::EtcdPrograms;

/// Members of the cluster: the smallest number that survives the loss of one.
const MEMBERS: usize = 3;
/// An election takes one to two election timeouts (1 s each); several in a row are possible.
const ELECTION_LIMIT: Duration = Duration::from_secs(10);
const ELECTION_INTERVAL: Duration = Duration::from_millis(100);

/// A cluster of three; killed, and its folder removed, on drop.
#[derive(Debug)]
pub struct EtcdCluster {
    members: Vec<Etcd>,
    _temporary: TempDir,
}

impl EtcdCluster {
    /// Starts three members in a temporary folder, without fsync; ready when all are healthy.
    ///
    /// # Errors
    /// When one cannot be started or does not answer.
    pub async fn temporary(programs: &EtcdPrograms) -> Result<Self, ServerError> {
        let folder = temporary_folder("etcd-cluster-")?;
        let mut options = Vec::new();
        for index in 0..MEMBERS {
            let name = format!("etcd-{index}");
            let single = EtcdOptions::in_dir(&folder.path().join(&name))?;
            options.push(EtcdOptions { name, fsync: false, ..single });
        }
        let all: Vec<String> =
            options.iter().map(|member| format!("{}={}", member.name, member.peer_url())).collect();
        let mut members = Vec::new();
        for single in options {
            let joined = EtcdOptions { initial_cluster: Some(all.join(",")), ..single };
            members.push(Etcd::spawn(programs, joined)?);
        }
        for member in &mut members {
            member.ready().await?;
        }
        Ok(Self { members, _temporary: folder })
    }

    /// The client endpoints of all members, running or not.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(Etcd::endpoint).collect()
    }

    /// All members: `cluster.members()[0].kill()`, `.freeze()`, `.restart()`; without quorum use
    /// `.respawn()`, since no member gets ready alone.
    pub fn members(&mut self) -> &mut [Etcd] {
        &mut self.members
    }

    /// Waits until every member is healthy again.
    ///
    /// # Errors
    /// When one does not run or does not answer within 30 s.
    pub async fn ready(&mut self) -> Result<(), ServerError> {
        for member in &mut self.members {
            member.ready().await?;
        }
        Ok(())
    }

    /// Index of the member that leads; waits for an election that is under way, 10 s at most.
    pub async fn leader(&mut self) -> Option<usize> {
        let deadline = Instant::now() + ELECTION_LIMIT;
        loop {
            let found = self.leader_now().await;
            if found.is_some() || Instant::now() >= deadline {
                return found;
            }
            sleep(ELECTION_INTERVAL).await;
        }
    }

    async fn leader_now(&mut self) -> Option<usize> {
        for (index, member) in self.members.iter_mut().enumerate() {
            if !member.is_running() {
                continue;
            }
            let ask = ["endpoint", "status", "--write-out", "json", "--command-timeout", "1s"];
            if member.ctl(&ask).await.is_ok_and(|json| leads(&json)) {
                return Some(index);
            }
        }
        None
    }
}

/// A member leads when its own id is the leader's.
fn leads(status_json: &str) -> bool {
    let Ok(status) = serde_json::from_str::<serde_json::Value>(status_json) else {
        return false;
    };
    let status = &status[0]["Status"];
    let leader = status["leader"].as_u64();
    leader.is_some_and(|id| id != 0 && status["header"]["member_id"].as_u64() == Some(id))
}
