//! The baseline: bare watches, as anybody would write them with etcd-client. The only place beside
//! `store` that uses that crate, because a baseline that ran through our own client would compare
//! it with itself. I/O.

use std::sync::Arc;

use anyhow::Context as _;
use etcd_client::{Client, ConnectOptions, Event, EventType, WatchOptions, WatchStream};
use tokio::task::JoinHandle;

use super::fleet::Connections;
use super::sightings::Sightings;

/// Bare watches of one key; they end when dropped.
pub(super) struct RawWatches(Vec<JoinHandle<()>>);

impl Drop for RawWatches {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

impl RawWatches {
    /// One watch for each observer in `sightings`, each of which reads a number.
    pub(super) async fn start(
        endpoint: &str,
        key: &str,
        count: usize,
        connections: Connections,
        sightings: &Arc<Sightings>,
    ) -> anyhow::Result<RawWatches> {
        let mut watches = RawWatches(Vec::with_capacity(count));
        let shared = connect(endpoint).await?;
        for observer in 0..count {
            let mut client = match connections {
                Connections::Own => connect(endpoint).await?,
                Connections::Shared => shared.clone(),
            };
            let stream = client.watch(key, None).await.context("opening a bare watch")?;
            let sightings = sightings.clone();
            watches.0.push(tokio::spawn(observe(client, stream, move |event| {
                if let Some(value) = number(event) {
                    sightings.saw(observer, value);
                }
            })));
        }
        Ok(watches)
    }

    /// One watch of everything below `prefix`.
    pub(super) async fn of_prefix(
        endpoint: &str,
        prefix: &str,
        each: impl FnMut(&Event) + Send + 'static,
    ) -> anyhow::Result<RawWatches> {
        let mut client = connect(endpoint).await?;
        let options = WatchOptions::new().with_prefix();
        let stream = client.watch(prefix, Some(options)).await.context("opening a bare watch")?;
        Ok(RawWatches(vec![tokio::spawn(observe(client, stream, each))]))
    }
}

async fn connect(endpoint: &str) -> anyhow::Result<Client> {
    let options = ConnectOptions::new();
    Client::connect([endpoint], Some(options)).await.context("connecting a bare client")
}

/// Keeps the client, and with it the connection, as long as the stream is read.
async fn observe(_client: Client, mut stream: WatchStream, mut each: impl FnMut(&Event)) {
    while let Ok(Some(message)) = stream.message().await {
        message.events().iter().for_each(&mut each);
    }
}

fn number(event: &Event) -> Option<u64> {
    event.kv()?.value_str().ok()?.parse().ok()
}

/// The key, and whether it was deleted.
pub(super) fn touched(event: &Event) -> Option<(&str, bool)> {
    Some((event.kv()?.key_str().ok()?, event.event_type() == EventType::Delete))
}

/// The key and the value that was put there.
pub(super) fn written(event: &Event) -> Option<(&str, &[u8])> {
    let put = event.kv().filter(|_| event.event_type() == EventType::Put)?;
    Some((put.key_str().ok()?, put.value()))
}
