//! Real Kafka: a cluster of three nodes, each broker and controller, and what can be done to each:
//! kill, restart, freeze, thaw; the tools of the same distribution; TLS and a password for clients
//! where asked for. I/O.

mod node;
mod options;
mod security;
mod tools;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::certificates::Certificates;
use crate::etcd::temporary_folder;
use crate::poll::{self, ServerError};
use crate::process::launch::log_tail;
use crate::programs::KafkaPrograms;

pub use node::KafkaNode;
pub use options::{KafkaOptions, KafkaPorts};
pub use security::KafkaSecurity;
use security::Validity;

/// A node hands its leaders over in 2 to 6 s when asked to end.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// A node reads its files again in milliseconds, once it hears that it should.
const SWAP_LIMIT: Duration = Duration::from_secs(30);

/// A cluster; killed, and a temporary folder removed, on drop.
#[derive(Debug)]
pub struct KafkaCluster {
    programs: KafkaPrograms,
    options: KafkaOptions,
    nodes: Vec<KafkaNode>,
    _temporary: Option<TempDir>,
}

impl KafkaCluster {
    /// Three plain nodes in a temporary folder; ready when each serves and knows the others.
    ///
    /// # Errors
    /// When one cannot be started or does not get ready.
    pub async fn temporary(programs: &KafkaPrograms) -> Result<Self, ServerError> {
        Self::temporary_with(programs, |_| ()).await
    }

    /// The same, whose clients need TLS and the user's password.
    ///
    /// # Errors
    /// As [`KafkaCluster::temporary`]; also without `openssl`.
    pub async fn secured(
        programs: &KafkaPrograms,
        security: KafkaSecurity,
    ) -> Result<Self, ServerError> {
        Self::temporary_with(programs, |options| options.security = Some(security)).await
    }

    /// In a temporary folder, with options that `change` has changed: advertised ports of proxies,
    /// further properties.
    ///
    /// # Errors
    /// As [`KafkaCluster::temporary`].
    pub async fn temporary_with(
        programs: &KafkaPrograms,
        change: impl FnOnce(&mut KafkaOptions),
    ) -> Result<Self, ServerError> {
        let folder = temporary_folder("kafka-")?;
        let mut options = KafkaOptions::in_dir(folder.path())?;
        change(&mut options);
        let mut cluster = Self::start(programs, options).await?;
        cluster._temporary = Some(folder);
        Ok(cluster)
    }

    /// Prepares and starts a cluster as described, also one that ran before in its folder.
    ///
    /// # Errors
    /// When a node cannot be started or does not get ready.
    pub async fn start(
        programs: &KafkaPrograms,
        options: KafkaOptions,
    ) -> Result<Self, ServerError> {
        options.prepare(programs).await?;
        let spawn = |id| KafkaNode::spawn(programs, &options, id);
        let nodes = options.ids().map(spawn).collect::<Result<_, _>>()?;
        let programs = programs.clone();
        let mut cluster = Self { programs, options, nodes, _temporary: None };
        cluster.ready().await?;
        Ok(cluster)
    }

    /// What clients connect to: `127.0.0.1:<port>` of every node, running or not, separated by
    /// commas; the same after every restart.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.options.bootstrap()
    }

    /// How it was started.
    #[must_use]
    pub fn options(&self) -> &KafkaOptions {
        &self.options
    }

    /// All nodes; the one with Kafka's id N stands at N - 1.
    pub fn nodes(&mut self) -> &mut [KafkaNode] {
        &mut self.nodes
    }

    /// Waits until every node that runs serves, and knows that all of them do. A frozen one never
    /// answers.
    ///
    /// # Errors
    /// When one has ended by itself or is not ready within 90 s.
    pub async fn ready(&mut self) -> Result<(), ServerError> {
        let running: Vec<usize> = self
            .nodes
            .iter_mut()
            .filter_map(|node| node.is_wanted().then_some(node.id()))
            .collect();
        for node in self.nodes.iter_mut().filter(|node| running.contains(&node.id())) {
            node.ready_with(&running).await?;
        }
        Ok(())
    }

    /// Runs a tool of the distribution (`kafka-topics`, `kafka-configs`, ...) on the plain listener
    /// between brokers, unless the arguments name a `--bootstrap-server`; its standard output.
    ///
    /// # Errors
    /// When there is no such tool, or it fails, with what it said.
    pub async fn tool(&self, name: &str, args: &[&str]) -> Result<String, ServerError> {
        self.tool_with_input(name, args, None).await
    }

    /// The same with `input` on its standard input, as for `kafka-console-producer`.
    ///
    /// # Errors
    /// As [`KafkaCluster::tool`].
    pub async fn tool_with_input(
        &self,
        name: &str,
        args: &[&str],
        input: Option<&str>,
    ) -> Result<String, ServerError> {
        self.options.tool(&self.programs, name, args, input).await
    }

    /// The authority that signed the nodes' certificate; makes further ones, for clients too.
    /// None when the cluster is not secured.
    #[must_use]
    pub fn certificates(&self) -> Option<Certificates> {
        self.options.security.as_ref().map(|_| KafkaSecurity::certificates(&self.options.dir))
    }

    /// The tools' `--command-config` for the secured listener. None when it is not secured.
    #[must_use]
    pub fn client_properties(&self) -> Option<PathBuf> {
        self.options.security.as_ref().map(|_| KafkaSecurity::client_properties(&self.options.dir))
    }

    /// Gives all nodes another key and certificate, while they run, and waits until all serve it;
    /// connections that are open stay. Nothing to do when the cluster is not secured.
    ///
    /// # Errors
    /// When a node does not run, or does not take what it is given.
    pub async fn renew_certificate(&self) -> Result<(), ServerError> {
        self.swap_certificate(Validity::Valid).await
    }

    /// The same, but the certificate is over since yesterday: clients must refuse it.
    ///
    /// # Errors
    /// As [`KafkaCluster::renew_certificate`].
    pub async fn expire_certificate(&self) -> Result<(), ServerError> {
        self.swap_certificate(Validity::Expired).await
    }

    async fn swap_certificate(&self, validity: Validity) -> Result<(), ServerError> {
        if self.options.security.is_none() {
            return Ok(());
        }
        let signed = KafkaSecurity::sign(&self.options.dir, validity).await?;
        let location = KafkaSecurity::keystore(&self.options.dir).display().to_string();
        let change = format!("listener.name.client.ssl.keystore.location={location}");
        for (id, ports) in self.options.ids().zip(&self.options.nodes) {
            let name = id.to_string();
            let entity = ["--alter", "--entity-type", "brokers", "--entity-name", &name];
            let args: Vec<&str> = entity.into_iter().chain(["--add-config", &change]).collect();
            self.tool("kafka-configs", &args).await?;
            if !poll::until(SWAP_LIMIT, || security::serves(ports.client, &signed)).await {
                let log_tail = log_tail(&self.options.log(id));
                let name = format!("kafka-{id}");
                return Err(ServerError::NotReady { name, within: SWAP_LIMIT, log_tail });
            }
        }
        Ok(())
    }

    /// Ends all nodes: the first ones in order, so that they hand their leaders over; the last has
    /// nobody left to agree with, and is killed.
    ///
    /// # Errors
    /// When one cannot be signalled.
    pub async fn stop(mut self) -> Result<(), ServerError> {
        let last = self.nodes.iter_mut().rposition(|node| node.is_running()).unwrap_or_default();
        for node in self.nodes.iter_mut().take(last) {
            node.stop(STOP_LIMIT).await?;
        }
        Ok(())
    }
}
