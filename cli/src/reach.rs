//! The way to etcd, with an answer within three seconds even when nobody is there. In: endpoints
//! and credentials as given. Out: a store that has answered, and a hunt as it stands. I/O.

use std::time::Duration;

use config_schemas::HuntName;
use config_schemas::keys::{HuntKeys, ROOT};
use store::{KeyRange, Listing, Store, StoreError, StoreOptions};
use tokio::time::timeout;

use crate::failure::{Failure, unreachable};
use crate::fleet::Fleet;

/// A person waits no longer than three seconds to hear that etcd is not there; the rest is room
/// for starting up and printing.
const ANSWER_WITHIN: Duration = Duration::from_millis(2_000);

/// An etcd to be asked.
#[derive(Clone)]
pub struct Etcd {
    /// The store.
    pub store: Store,
    endpoints: Vec<String>,
}

impl Etcd {
    /// Checks the options; nothing is sent yet.
    pub fn open(options: StoreOptions) -> Result<Etcd, Failure> {
        let endpoints = options.endpoints.clone();
        let store = Store::open(options)
            .map_err(|error| Failure::of_store("opening etcd", &endpoints, &error))?;
        Ok(Etcd { store, endpoints })
    }

    /// The endpoints as given.
    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// What an error of the store means.
    pub fn failure(&self, act: &str, error: &StoreError) -> Failure {
        Failure::of_store(act, &self.endpoints, error)
    }

    /// Everything below `prefix`.
    pub async fn list(&self, prefix: &str) -> Result<Listing, Failure> {
        match timeout(ANSWER_WITHIN, self.store.list(&KeyRange::prefix(prefix))).await {
            Ok(listed) => listed.map_err(|error| self.failure("reading etcd", &error)),
            Err(_) => {
                let within = ANSWER_WITHIN.as_secs_f64();
                let message = format!("reading etcd: no answer within {within} s");
                Err(unreachable(&message, &self.endpoints.join(", ")))
            }
        }
    }

    /// The hunt as it stands; none when there is none of that name.
    pub async fn find(&self, hunt: &HuntName) -> Result<Option<Fleet>, Failure> {
        let listing = self.list(HuntKeys::new(hunt).prefix()).await?;
        Ok(Some(Fleet::read(hunt, &listing)).filter(|fleet| !fleet.is_empty()))
    }

    /// The hunt as it stands; a failure when there is none of that name.
    pub async fn fleet(&self, hunt: &HuntName) -> Result<Fleet, Failure> {
        self.find(hunt).await?.ok_or_else(|| {
            Failure::bad_input(format!("there is no hunt {hunt} in this etcd"))
                .hint("`hunt status` lists the hunts")
        })
    }

    /// Every hunt.
    pub async fn fleets(&self) -> Result<Vec<Fleet>, Failure> {
        Ok(Fleet::read_all(&self.list(ROOT).await?))
    }
}
