//! What can be seen of a world: acks, status, Events, the agents' own views. I/O, reading only.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use config_schemas::documents::{self, Ack, PartitionRecord, Refusal};
use config_schemas::keys::Key;
use config_schemas::{NodeName, PartitionId};
use crds::{ConditionKind, StatusEvent, TreasureHuntStatus, Truth};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value as Json;
use store::{Entry, KeyRange};

use super::World;

/// What people see of the hunt.
#[derive(Debug, Clone)]
pub struct Status {
    /// The resource's generation.
    pub generation: u64,
    /// The resource's id.
    pub uid: String,
    /// Its status.
    pub status: TreasureHuntStatus,
    /// What happened, oldest first.
    pub events: Vec<StatusEvent>,
}

impl Status {
    /// Whether the condition holds, and is about the newest generation.
    pub fn holds(&self, kind: ConditionKind) -> bool {
        self.status.condition(kind).is_some_and(|condition| {
            condition.status == Truth::True
                && u64::try_from(condition.observed_generation) == Ok(self.generation)
        })
    }

    /// The message of the condition.
    pub fn message(&self, kind: ConditionKind) -> String {
        self.status.condition(kind).map(|found| found.message.clone()).unwrap_or_default()
    }

    /// Why the edit at `override/<rest>` is refused.
    pub fn refusal(&self, rest: &str) -> Option<&crds::RefusedEdit> {
        let key = format!("override/{rest}");
        self.status.refused.iter().find(|refused| refused.key == key)
    }

    /// Whether an Event of that reason has `text` in it.
    pub fn has_event(&self, reason: &str, text: &str) -> bool {
        self.events.iter().any(|event| event.reason == reason && event.note.contains(text))
    }
}

/// The status file, as the documentation shows it.
#[derive(Deserialize)]
struct StatusFile {
    hunts: Vec<StatusRecord>,
}

#[derive(Deserialize)]
struct StatusRecord {
    uid: String,
    generation: u64,
    #[serde(default)]
    status: Option<TreasureHuntStatus>,
    #[serde(default)]
    events: Vec<StatusEvent>,
}

impl World {
    /// The hunt's status, from the file beside it or from Kubernetes.
    pub async fn status(&self) -> Result<Status> {
        match &self.api {
            None => self.status_of_file(),
            Some(_) => self.status_of_resource().await,
        }
    }

    fn status_of_file(&self) -> Result<Status> {
        let text = std::fs::read_to_string(self.path("hunts/harbour.yaml.status.yaml"))
            .context("no status file")?;
        let file: StatusFile = serde_yaml::from_str(&text).context("an odd status file")?;
        let record = file.hunts.into_iter().next().context("no hunt in the status file")?;
        Ok(Status {
            generation: record.generation,
            uid: record.uid,
            status: record.status.unwrap_or_default(),
            events: record.events,
        })
    }

    async fn status_of_resource(&self) -> Result<Status> {
        let name = self.hunt.name.to_string();
        let resource = self.kubectl_json(&["get", "th", &name]).await?;
        let status = resource.get("status").cloned().unwrap_or_else(|| serde_json::json!({}));
        let events = self.kubectl_json(&["get", "events.events.k8s.io"]).await?;
        let items = events["items"].as_array().cloned().unwrap_or_default();
        Ok(Status {
            generation: resource["metadata"]["generation"].as_u64().context("no generation")?,
            uid: string(&resource["metadata"]["uid"]),
            status: serde_json::from_value(status)?,
            events: items.iter().filter_map(|event| kubernetes_event(event, &name)).collect(),
        })
    }

    /// What kubectl answers as JSON, in the hunt's namespace.
    pub async fn kubectl_json(&self, args: &[&str]) -> Result<Json> {
        let api = self.api.as_ref().context("a world without Kubernetes")?;
        let namespace = format!("--namespace={}", self.hunt.namespace);
        let all: Vec<&str> =
            args.iter().copied().chain([namespace.as_str(), "--output=json"]).collect();
        Ok(serde_json::from_str(&api.kubectl(&all).await?)?)
    }

    /// What stands at one of the hunt's keys.
    pub async fn entry(&self, key: &Key) -> Result<Option<Entry>> {
        Ok(self.store.read(&self.keys.key(key)).await?)
    }

    /// The ack of an agent.
    pub async fn ack(&self, node: &str) -> Result<Ack> {
        let key = Key::Ack(NodeName::new(node)?);
        let entry = self.entry(&key).await?.with_context(|| format!("{node} has no ack"))?;
        documents::read(&entry.value).map_err(anyhow::Error::msg)
    }

    /// Every partition's record, by number.
    pub async fn partitions(&self) -> Result<BTreeMap<u32, PartitionRecord>> {
        let prefix = self.keys.key(&Key::Unknown("partition/".to_owned()));
        let listing = self.store.list(&KeyRange::prefix(&prefix)).await?;
        let records = listing.entries.iter().map(|entry| {
            let Some(Key::Partition(PartitionId(id))) = self.keys.parse(&entry.key) else {
                bail!("{} is no partition's key", entry.key);
            };
            let record = documents::read(&entry.value).map_err(anyhow::Error::msg)?;
            Ok((id, record))
        });
        records.collect()
    }

    /// `/config` of the agent at `index`.
    pub async fn config(&self, index: usize) -> Result<Json> {
        self.http.json(self.agents[index].http, "/config").await
    }

    /// The value that the agent at `index` runs for `section.field`.
    pub async fn value(&self, index: usize, field: &str) -> Result<Json> {
        Ok(self.config(index).await?["fields"][field]["value"].clone())
    }

    /// Fails unless every agent runs `wanted` for the field and has acked at least `revision`.
    pub async fn all_run(&self, field: &str, wanted: &Json, revision: u64) -> Result<()> {
        for (index, agent) in self.agents.iter().enumerate() {
            let config = self.config(index).await.with_context(|| agent.name.clone())?;
            let found = &config["fields"][field]["value"];
            ensure!(found == wanted, "{} runs {field} = {found}", agent.name);
            let ack = self.ack(&agent.name).await?;
            let acked = ack.revision.map_or(0, |revision| revision.get());
            ensure!(acked >= revision, "{} acked revision {acked} of {revision}", agent.name);
            ensure!(
                config["hash"] == config["wantedHash"]
                    && Some(ack.hash.as_str()) == config["hash"].as_str(),
                "{} acks a hash that is not what it wants",
                agent.name
            );
        }
        Ok(())
    }

    /// The refusal of `override/<rest>` in an agent's ack.
    pub async fn refusal_in_ack(&self, node: &str, rest: &str) -> Result<Option<Refusal>> {
        let key = format!("override/{rest}");
        Ok(self.ack(node).await?.refused.into_iter().find(|refusal| refusal.key == key))
    }

    /// The metrics text at a port.
    pub async fn metrics(&self, port: u16) -> Result<String> {
        self.http.text(port, "/metrics").await
    }

    /// Fails unless all agents have acked the newest generation and the status says so.
    pub async fn is_converged(&self) -> Result<()> {
        let status = self.status().await?;
        let nodes = status.status.nodes.context("no nodes in the status")?;
        let agents = i32::try_from(self.agents.len())?;
        ensure!(nodes.acked == agents, "{} of {agents} nodes acked", nodes.acked);
        ensure!(
            self.agents.is_empty() || status.holds(ConditionKind::Converged),
            "not converged: {}",
            status.message(ConditionKind::Converged)
        );
        Ok(())
    }

    /// Fails unless each partition is served by exactly the agent that its record names.
    pub async fn is_served(&self) -> Result<()> {
        let records = self.partitions().await?;
        let mut served: BTreeMap<u32, &str> = BTreeMap::new();
        for agent in &self.agents {
            let view = self.http.json(agent.http, "/partitions").await?;
            for partition in view["partitions"].as_array().into_iter().flatten() {
                if partition["serving"] == true {
                    let id = u32::try_from(partition["id"].as_u64().context("no id")?)?;
                    let other = served.insert(id, &agent.name);
                    ensure!(other.is_none(), "partition {id} is served by two agents");
                }
            }
        }
        let count = self.spec["partitions"]["count"].as_u64().unwrap_or(16);
        for id in 0..u32::try_from(count)? {
            let record =
                records.get(&id).with_context(|| format!("partition {id} has no record"))?;
            ensure!(
                matches!(record, PartitionRecord::Own { owner, .. } if served.get(&id) == Some(&owner.node.as_str())),
                "partition {id} is {record:?}, served by {:?}",
                served.get(&id)
            );
        }
        Ok(())
    }
}

fn kubernetes_event(event: &Json, hunt: &str) -> Option<StatusEvent> {
    let at: Timestamp = event["eventTime"].as_str()?.parse().ok()?;
    (event["regarding"]["name"] == hunt).then(|| StatusEvent {
        at,
        severity: string(&event["type"]),
        reason: string(&event["reason"]),
        note: string(&event["note"]),
    })
}

fn string(value: &Json) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
