//! A hunt and what the loop keeps with it: what is being carried out, and when the next of each
//! kind may be. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use config_schemas::keys::Key;
use config_schemas::{HuntName, Revision};
use crds::TreasureHuntStatus;
use store::Entry;
use tokio::time::Instant;

use super::traced::OnTheirWay;
use crate::hands::Hands;
use crate::hunt::{Deleted, Hunt};
use crate::source::Report;
use crate::state::Observed;

/// A hunt and what the loop keeps with it.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) hunt: Hunt,
    pub(super) hands: Hands,
    pub(super) on_their_way: OnTheirWay,
    pub(super) committing: bool,
    pub(super) reporting: bool,
    /// It stands among those that wait for a free place.
    pub(super) waits: bool,
    pub(super) looked_at: Option<Instant>,
    pub(super) pause: Duration,
    pub(super) report_at: Option<Instant>,
    pub(super) reported_at: Option<Instant>,
    pub(super) commit_at: Option<Instant>,
    pub(super) commit_failures: u32,
    pub(super) report_failures: u32,
    /// The newest version that we know we wrote.
    pub(super) version: String,
}

impl Kept {
    pub(super) fn wait(&mut self, name: &HuntName, waiting: &mut VecDeque<HuntName>) {
        if !std::mem::replace(&mut self.waits, true) {
            waiting.push_back(name.clone());
        }
    }

    /// Follows what was changed until all nodes run by it.
    pub(super) fn follow(&mut self, key: &Key, entry: Option<&Entry>, revision: Revision) {
        let revision = entry.map_or(revision, |entry| entry.mod_revision);
        let resource = self.hunt.changed_at.map(|(_, since)| since);
        self.on_their_way.see(key, revision, resource);
    }

    pub(super) fn is_deleting(&self) -> bool {
        self.hunt.resource.as_ref().is_some_and(|observed| observed.deleting)
    }

    pub(super) fn see(&mut self, mut observed: Observed, now: Instant) {
        let known = self.hunt.resource.as_ref();
        let same = known.filter(|known| known.uid == observed.uid);
        if same.is_none_or(|known| known.generation < observed.generation) {
            self.hunt.changed_at = Some((observed.generation, now));
        }
        // The source may still show the status of before our last write.
        if let Some(known) = same.filter(|_| older(&observed.version, &self.version)) {
            observed.status = known.status.clone();
        }
        if same.is_none() {
            self.version.clear();
        }
        self.hunt.resource = Some(observed);
    }

    pub(super) fn deleted(&mut self, uid: String) {
        let known = self.hunt.resource.take_if(|known| known.uid == uid);
        let retain = known
            .and_then(|known| known.spec().ok())
            .is_some_and(|spec| spec.deletion_policy == Some(crds::DeletionPolicy::Retain));
        let retain = retain || self.hunt.deleted.as_ref().is_some_and(|deleted| deleted.retain);
        self.hunt.deleted = Some(Deleted { uid, retain });
    }

    /// Whether the report says nothing new but numbers of nodes and partitions, and their names.
    pub(super) fn only_counts(&self, report: &Report) -> bool {
        let Report::Status(next) = report else { return false };
        let before = self.hunt.resource.as_ref().map(|observed| &observed.status);
        before.is_some_and(|before| gist(before).is_some_and(|was| Some(was) == gist(next)))
    }

    /// Remembers our own write, so that it is not written again before the source shows it.
    pub(super) fn wrote(&mut self, report: Report, version: String) {
        let Some(observed) = &mut self.hunt.resource else { return };
        match report {
            Report::Status(status) => observed.status = status,
            Report::Hold => observed.held = true,
            Report::Release => observed.held = false,
        }
        self.version = version;
    }
}

/// A status without what moves on while agents ack.
fn gist(status: &str) -> Option<TreasureHuntStatus> {
    let mut status: TreasureHuntStatus = serde_json::from_str(status).ok()?;
    (status.converged, status.nodes, status.partitions) = (None, None, None);
    for condition in &mut status.conditions {
        condition.message.clear();
    }
    Some(status)
}

/// Whether `version` is of before `than`. Kubernetes' versions are numbers that rise.
fn older(version: &str, than: &str) -> bool {
    match (version.parse::<u64>(), than.parse::<u64>()) {
        (Ok(version), Ok(than)) => version < than,
        _ => false,
    }
}
