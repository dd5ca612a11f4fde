//! Guarded transactions: the only way to write. In: guards and writes. Out: committed, or
//! refused with what was found instead; never a guess. The checks before and the decision
//! after an ambiguous outcome are pure, the rest is I/O.

use std::time::Duration;

use bytes::Bytes;
use config_schemas::Revision;
use etcd_client::proto::{PbTxnOpResponse, PbTxnResponse};
use etcd_client::{Client, Compare, CompareOp, DeleteOptions, PutOptions, TxnOp};
use tokio::time::{Instant, sleep};

use crate::connect::Store;
use crate::error::StoreError;
use crate::keys::{Entry, KeyRange, LeaseId, entry};

/// etcd's default limit of operations in one transaction.
pub const OPS_MAX: usize = 128;
/// etcd's default request limit is 1.5 MiB; the rest is room for framing.
pub const BYTES_MAX: usize = 1_468_006;
/// Bytes that one operation costs beside its key and value.
const OP_OVERHEAD: usize = 32;
/// How long `commit_decided` tries to find out what became of an ambiguous write.
pub const DECIDE_WITHIN: Duration = Duration::from_secs(15);
/// Pause between two attempts to read back.
const DECIDE_PAUSE: Duration = Duration::from_millis(200);

/// A condition on one key, checked in the same instant as the writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// There is no such key.
    Absent(String),
    /// There is such a key.
    Exists(String),
    /// The key has not been written since.
    Unchanged {
        /// The key.
        key: String,
        /// Its `mod_revision` as it was read.
        mod_revision: Revision,
    },
    /// The key is still the one that was created then: how a leader's key fences its writes.
    CreatedAt {
        /// The key.
        key: String,
        /// Its `create_revision` as it was read.
        create_revision: Revision,
    },
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets the key's value and lease.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: Bytes,
        /// The lease that the key hangs on from now on; `None` takes it off any lease.
        lease: Option<LeaseId>,
    },
    /// Deletes one key; nothing happens if there is none.
    Delete {
        /// The key.
        key: String,
    },
    /// Deletes all keys of a range.
    DeleteRange(KeyRange),
}

/// Guards and the writes that happen together if all guards hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold.
    pub guards: Vec<Guard>,
    /// All happen, or none; no key twice.
    pub writes: Vec<Write>,
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All writes happened, at this revision.
    Committed(Revision),
    /// A guard did not hold; nothing happened.
    Refused {
        /// When the guards were looked at.
        at: Revision,
        /// What stood at each guard's key then, in the order of the guards.
        found: Vec<Option<Entry>>,
    },
}

impl Guard {
    /// The key that is looked at.
    pub fn key(&self) -> &str {
        match self {
            Guard::Absent(key) | Guard::Exists(key) => key,
            Guard::Unchanged { key, .. } | Guard::CreatedAt { key, .. } => key,
        }
    }

    /// Whether the guard holds for what stands at its key.
    pub fn holds(&self, found: Option<&Entry>) -> bool {
        match (self, found) {
            (Guard::Absent(_), found) => found.is_none(),
            (Guard::Exists(_), found) => found.is_some(),
            (Guard::Unchanged { mod_revision, .. }, Some(e)) => e.mod_revision == *mod_revision,
            (Guard::CreatedAt { create_revision, .. }, Some(e)) => {
                e.create_revision == *create_revision
            }
            (Guard::Unchanged { .. } | Guard::CreatedAt { .. }, None) => false,
        }
    }

    /// The guard that the key stays as this entry shows it, or absent.
    pub fn as_found(key: &str, found: Option<&Entry>) -> Guard {
        match found {
            Some(e) => Guard::Unchanged { key: key.to_owned(), mod_revision: e.mod_revision },
            None => Guard::Absent(key.to_owned()),
        }
    }

    fn compare(&self) -> Compare {
        match self {
            Guard::Absent(key) => Compare::create_revision(key.as_str(), CompareOp::Equal, 0),
            Guard::Exists(key) => Compare::create_revision(key.as_str(), CompareOp::Greater, 0),
            Guard::Unchanged { key, mod_revision } => {
                Compare::mod_revision(key.as_str(), CompareOp::Equal, mod_revision.to_etcd())
            }
            Guard::CreatedAt { key, create_revision } => {
                Compare::create_revision(key.as_str(), CompareOp::Equal, create_revision.to_etcd())
            }
        }
    }
}

impl Write {
    /// A put without a lease.
    pub fn put(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Write::Put { key: key.into(), value: value.into(), lease: None }
    }

    /// A delete of one key.
    pub fn delete(key: impl Into<String>) -> Self {
        Write::Delete { key: key.into() }
    }

    fn size(&self) -> usize {
        OP_OVERHEAD
            + match self {
                Write::Put { key, value, .. } => key.len() + value.len(),
                Write::Delete { key } => key.len(),
                Write::DeleteRange(range) => {
                    let (from, to) = range.bounds();
                    from.len() + to.len()
                }
            }
    }

    fn op(&self) -> TxnOp {
        match self {
            Write::Put { key, value, lease } => {
                let lease = lease.map_or(0, LeaseId::to_etcd);
                TxnOp::put(key.as_str(), value.to_vec(), Some(PutOptions::new().with_lease(lease)))
            }
            Write::Delete { key } => TxnOp::delete(key.as_str(), None),
            Write::DeleteRange(range) => {
                let (from, to) = range.bounds();
                TxnOp::delete(from, Some(DeleteOptions::new().with_range(to)))
            }
        }
    }
}

impl Txn {
    /// One guarded put.
    pub fn put(guard: Guard, value: impl Into<Bytes>) -> Self {
        let write = Write::put(guard.key(), value);
        Self { guards: vec![guard], writes: vec![write] }
    }

    /// Adds a guard, such as a leader's.
    #[must_use]
    pub fn guarded_by(mut self, guard: Guard) -> Self {
        self.guards.push(guard);
        self
    }

    /// Whether etcd could take it, found out before anything is sent.
    pub fn check(&self) -> Result<(), StoreError> {
        let ops = self.guards.len().max(self.writes.len());
        if ops > OPS_MAX {
            return Err(StoreError::TooManyOps { ops });
        }
        // A refusal reads every guarded key back, so a guard counts with its key twice.
        let guards = self.guards.iter().map(|guard| 2 * (guard.key().len() + OP_OVERHEAD));
        if guards.chain(self.writes.iter().map(Write::size)).sum::<usize>() > BYTES_MAX {
            return Err(StoreError::TooLarge);
        }
        let mut written: Vec<&str> = Vec::with_capacity(self.writes.len());
        for write in &self.writes {
            if let Write::Put { key, .. } | Write::Delete { key } = write {
                written.push(key);
            }
        }
        written.sort_unstable();
        let twice = written.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
        let covered = self.writes.iter().find_map(|write| match write {
            Write::DeleteRange(range) => written.iter().find(|key| range.contains(key)).copied(),
            Write::Put { .. } | Write::Delete { .. } => None,
        });
        match twice.or(covered) {
            Some(key) => Err(StoreError::DuplicateKey { key: key.to_owned() }),
            None => Ok(()),
        }
    }
}

impl Store {
    /// Runs the transaction once. A lost answer is `StoreError::Ambiguous`: then read back, or
    /// use `commit_decided`.
    pub async fn commit(&self, txn: &Txn) -> Result<Verdict, StoreError> {
        txn.check()?;
        let reads = |guard: &Guard| TxnOp::get(guard.key(), None);
        let request = etcd_client::Txn::new()
            .when(txn.guards.iter().map(Guard::compare).collect::<Vec<_>>())
            .and_then(txn.writes.iter().map(Write::op).collect::<Vec<_>>())
            .or_else(txn.guards.iter().map(reads).collect::<Vec<_>>());
        let answer = self
            .write_call(|client: Client| {
                let request = request.clone();
                async move { client.kv_client().txn(request).await.map(|answer| answer.0) }
            })
            .await?;
        verdict(answer)
    }

    /// Runs the transaction and, where the answer is lost, reads back until it is known what
    /// happened. It is sent again only while all its guards still hold and its own writes would
    /// break them, so that it cannot happen twice. If other writers overtook it, the verdict is
    /// `Refused` with what stands there now. Still `Ambiguous` after `DECIDE_WITHIN`.
    pub async fn commit_decided(&self, txn: &Txn) -> Result<Verdict, StoreError> {
        let give_up = Instant::now() + DECIDE_WITHIN;
        loop {
            let unknown = match self.commit(txn).await {
                Err(error @ StoreError::Ambiguous { .. }) => error,
                done => return done,
            };
            let seen = loop {
                match self.read_back(txn).await {
                    Ok(seen) => break seen,
                    Err(error) if error.retryable() && Instant::now() < give_up => {
                        sleep(DECIDE_PAUSE).await;
                    }
                    Err(_) => return Err(unknown),
                }
            };
            match decide(txn, &seen) {
                Outcome::Landed(revision) => return Ok(Verdict::Committed(revision)),
                Outcome::Overtaken => {
                    return Ok(Verdict::Refused { at: seen.at, found: seen.guarded });
                }
                Outcome::NotYet if breaks_own_guards(txn) && Instant::now() < give_up => {}
                Outcome::NotYet => return Err(unknown),
            }
        }
    }

    /// All keys of the transaction as they stand at one revision.
    async fn read_back(&self, txn: &Txn) -> Result<Seen, StoreError> {
        let keys = txn.guards.iter().map(Guard::key).chain(txn.writes.iter().filter_map(put_key));
        let keys: Vec<String> = keys.map(str::to_owned).collect();
        let mut at = None;
        let mut found = Vec::with_capacity(keys.len());
        for some in keys.chunks(OPS_MAX) {
            let gets = some.iter().map(|key| TxnOp::get(key.as_str(), None)).collect::<Vec<_>>();
            let request = etcd_client::Txn::new().and_then(gets);
            let answer = self
                .read_call(|client: Client| {
                    let request = request.clone();
                    async move { client.kv_client().txn(request).await.map(|answer| answer.0) }
                })
                .await?;
            at = at.or(Some(answered_at(&answer)?));
            found.extend(entries(answer));
        }
        let at = at.ok_or(StoreError::Malformed { what: "a transaction without keys" })?;
        let written = found.split_off(txn.guards.len());
        Ok(Seen { at, guarded: found, written })
    }
}

/// What stands at a transaction's keys.
struct Seen {
    at: Revision,
    /// In the order of the guards.
    guarded: Vec<Option<Entry>>,
    /// In the order of the writes with one key.
    written: Vec<Option<Entry>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Landed(Revision),
    NotYet,
    Overtaken,
}

fn put_key(write: &Write) -> Option<&str> {
    match write {
        Write::Put { key, .. } | Write::Delete { key } => Some(key),
        Write::DeleteRange(_) => None,
    }
}

/// What became of an ambiguous transaction, by what stands there now. It landed if each put's
/// value and lease are there, all written at one revision, and each delete's key is gone; it
/// has not landed (and still may) while every guard holds; otherwise somebody else was first
/// or came after, and it is all the same to a writer who plans anew from what is there.
fn decide(txn: &Txn, seen: &Seen) -> Outcome {
    if txn.guards.iter().zip(&seen.guarded).all(|(guard, found)| guard.holds(found.as_ref()))
        && breaks_own_guards(txn)
    {
        return Outcome::NotYet;
    }
    let mut landed_at: Option<Revision> = None;
    let keyed = txn.writes.iter().filter(|write| put_key(write).is_some());
    for (write, found) in keyed.zip(&seen.written) {
        let agrees = match (write, found) {
            (Write::Put { value, lease, .. }, Some(e)) => {
                let together = landed_at.is_none_or(|at| at == e.mod_revision);
                landed_at = Some(e.mod_revision);
                together && e.value == *value && e.lease == *lease
            }
            (Write::Put { .. }, None) => false,
            (Write::Delete { .. } | Write::DeleteRange(_), found) => found.is_none(),
        };
        if !agrees {
            let holds = |(guard, found): (&Guard, &Option<Entry>)| guard.holds(found.as_ref());
            let still = txn.guards.iter().zip(&seen.guarded).all(holds);
            return if still { Outcome::NotYet } else { Outcome::Overtaken };
        }
    }
    Outcome::Landed(landed_at.unwrap_or(seen.at))
}

/// Whether the writes make at least one guard fail, so that the transaction cannot happen twice.
fn breaks_own_guards(txn: &Txn) -> bool {
    txn.guards.iter().any(|guard| {
        txn.writes.iter().any(|write| match (guard, write) {
            (Guard::Absent(key) | Guard::Unchanged { key, .. }, Write::Put { key: put, .. }) => {
                key == put
            }
            (Guard::Absent(_), _)
            | (Guard::Exists(_) | Guard::CreatedAt { .. }, Write::Put { .. }) => false,
            (guard, Write::Delete { key }) => guard.key() == key,
            (guard, Write::DeleteRange(range)) => range.contains(guard.key()),
        })
    })
}

fn answered_at(answer: &PbTxnResponse) -> Result<Revision, StoreError> {
    let header = answer.header.as_ref();
    header
        .and_then(|header| Revision::from_etcd(header.revision))
        .ok_or(StoreError::Malformed { what: "a transaction's answer without revision" })
}

fn entries(answer: PbTxnResponse) -> impl Iterator<Item = Option<Entry>> {
    answer.responses.into_iter().map(|part| match part.response {
        Some(PbTxnOpResponse::ResponseRange(range)) => range.kvs.into_iter().next().and_then(entry),
        Some(
            PbTxnOpResponse::ResponsePut(_)
            | PbTxnOpResponse::ResponseDeleteRange(_)
            | PbTxnOpResponse::ResponseTxn(_),
        )
        | None => None,
    })
}

fn verdict(answer: PbTxnResponse) -> Result<Verdict, StoreError> {
    let at = answered_at(&answer)?;
    Ok(match answer.succeeded {
        true => Verdict::Committed(at),
        false => Verdict::Refused { at, found: entries(answer).collect() },
    })
}
