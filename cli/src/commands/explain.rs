//! `hunt explain`: why a setting has its value. In: the hunt as etcd shows it and the last good
//! values that agents hold, resolved by the function that agents use; with a node also what that
//! agent says. Out: winner, losers, meaning, and whether the agent agrees. The view is pure, asking
//! the agent is I/O.

mod text;

use config_schemas::convergence::NodeState;
use config_schemas::edit::Target;
use config_schemas::layers::{Claim, Layer};
use config_schemas::{Cost, FieldPath, Generation, HuntName, NodeName, Revision, Scope};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value as Json;

use super::status::Refused;
use super::status::edits::refused;
use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::http::Http;
use crate::last_good;
use crate::reach::Etcd;
use crate::shown::Out;

/// Why a setting has its value.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Of which hunt.
    pub hunt: HuntName,
    /// Which setting.
    pub field: FieldPath,
    /// On which node, or for the hunt as a whole.
    pub node: Option<NodeName>,
    /// The value.
    pub value: Json,
    /// The layer that it comes from.
    pub layer: Layer,
    /// Every layer that says something, the winner first.
    pub claims: Vec<Said>,
    /// What the setting means.
    pub meaning: &'static str,
    /// What may be written.
    pub allowed: String,
    /// The value when no layer names one.
    pub default: Json,
    /// What a change costs.
    pub cost: Cost,
    /// Whether nodes may differ.
    pub scope: Scope,
    /// Edits of this setting that are not in effect, or are over.
    pub refused: Vec<Refused>,
    /// Nodes that should have another value.
    pub differing: Vec<Differing>,
    /// How many nodes live.
    pub nodes: usize,
    /// How many of them confirm the configuration that they should have.
    pub confirmed: usize,
    /// What the agent itself says, when asked for one node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentSays>,
}

/// What one layer says.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    /// Which layer.
    pub layer: Layer,
    /// What it says.
    pub value: Json,
    /// Whether it wins.
    pub wins: bool,
    /// Whether it is the last good value of a key whose newest text is refused.
    pub held: bool,
    /// The store's revision that set it.
    pub revision: Option<Revision>,
    /// The resource's generation.
    pub generation: Option<Generation>,
    /// Who.
    pub owner: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Until when.
    pub until: Option<Timestamp>,
}

/// A node with another value than the hunt as a whole.
#[derive(Debug, Serialize)]
pub struct Differing {
    /// Which.
    pub node: NodeName,
    /// Its value.
    pub value: Json,
    /// Where it comes from.
    pub layer: Layer,
}

/// What the agent says.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentSays {
    /// Where it was asked.
    pub address: String,
    /// The value that its workers run.
    pub value: Option<Json>,
    /// Where that comes from.
    pub layer: Option<String>,
    /// Whether it is the value that etcd leads to.
    pub agrees: Option<bool>,
    /// Why there is no answer.
    pub trouble: Option<String>,
}

/// `hunt explain`.
pub async fn run(
    etcd: &Etcd,
    out: Out,
    hunt: &HuntName,
    path: FieldPath,
    node: Option<&NodeName>,
) -> Result<(), Failure> {
    let mut fleet = etcd.fleet(hunt).await?;
    let record = node.and_then(|node| fleet.nodes.get(node));
    let address = record.map(|record| record.http.clone());
    // At the same time: an agent that does not answer is waited for once.
    let last_good = last_good::ask(std::slice::from_mut(&mut fleet));
    let ((), config) = tokio::join!(last_good, config(address.as_deref()));
    let mut explanation = explain(&fleet, path, node, telemetry::clock::now());
    if let Some(node) = node {
        explanation.agent = Some(match (address, config) {
            (Some(address), Some(Ok(config))) => heard(&address, path, &config, &explanation.value),
            (Some(address), Some(Err(failure))) => AgentSays::silent(&address, failure.message),
            _ => AgentSays::silent("-", format!("no node {node} lives")),
        });
    }
    out.show(&explanation)
}

/// The view without the agent.
pub fn explain(
    fleet: &Fleet,
    path: FieldPath,
    node: Option<&NodeName>,
    now: Timestamp,
) -> Explanation {
    let effects = fleet.effects(now);
    let effective = effects.at(node);
    let field = path.field();
    let winner = effective.winner(path);
    let mut claims: Vec<_> =
        effective.claims[&path].iter().map(|claim| Said::new(fleet, path, node, claim)).collect();
    claims.reverse();
    if let Some(first) = claims.first_mut() {
        first.wins = true;
    }
    let tail = format!("/{}/{}", path.section(), path.name());
    let mut refused = refused(fleet, &effects, node, now);
    refused.retain(|refused| refused.refusal.key.ends_with(&tail));
    let (mut differing, mut confirmed) = (Vec::new(), 0);
    for name in fleet.nodes.keys() {
        confirmed += usize::from(effects.state(fleet, name, now) == NodeState::Converged);
        let other = effects.at(Some(name)).winner(path);
        if node.is_none() && other.value != winner.value {
            let (value, layer) = (other.value.to_json(), other.layer);
            differing.push(Differing { node: name.clone(), value, layer });
        }
    }
    Explanation {
        hunt: fleet.hunt.clone(),
        field: path,
        node: node.cloned(),
        value: winner.value.to_json(),
        layer: winner.layer,
        claims,
        meaning: field.doc,
        allowed: field.kind.allowed(),
        default: field.kind.default_value().to_json(),
        cost: field.cost,
        scope: field.scope,
        refused,
        differing,
        nodes: fleet.nodes.len(),
        confirmed,
        agent: None,
    }
}

async fn config(address: Option<&str>) -> Option<Result<Json, Failure>> {
    let answer = Http::new().get(address?, "/config").await;
    Some(answer.and_then(|answer| answer.json()))
}

fn heard(address: &str, path: FieldPath, config: &Json, computed: &Json) -> AgentSays {
    let said = &config["fields"][path.to_string()];
    let Some(value) = said.get("value") else {
        return AgentSays::silent(address, format!("it says nothing of {path}"));
    };
    AgentSays {
        address: address.to_owned(),
        value: Some(value.clone()),
        layer: said["layer"].as_str().map(str::to_owned),
        agrees: Some(shown(value) == shown(computed)),
        trouble: None,
    }
}

impl AgentSays {
    fn silent(address: &str, trouble: String) -> AgentSays {
        let address = address.to_owned();
        AgentSays { address, value: None, layer: None, agrees: None, trouble: Some(trouble) }
    }
}

impl Said {
    fn new(fleet: &Fleet, path: FieldPath, node: Option<&NodeName>, claim: &Claim) -> Said {
        let node = node.filter(|_| claim.layer == Layer::Node).cloned();
        let rest = Target::Setting { node, path }.rest();
        let is_edit = matches!(claim.layer, Layer::Hunt | Layer::Node);
        Said {
            held: is_edit && fleet.is_held(&rest, claim.revision),
            layer: claim.layer,
            value: claim.value.to_json(),
            wins: false,
            revision: claim.revision,
            generation: claim.generation,
            owner: claim.signature.owner.clone(),
            reason: claim.signature.reason.clone(),
            until: claim.signature.until,
        }
    }
}

/// A value as people write it.
pub fn shown(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A value, and whether it is held although its key says something else by now.
pub fn held(value: &Json, held: bool) -> String {
    if held { format!("{} (held)", shown(value)) } else { shown(value) }
}

#[cfg(test)]
mod tests {
    use super::text::layer;
    use super::*;
    use crate::fleet::sample::{harbour, node, now};
    use crate::shown::{Page, View as _};

    const EDITS: &[(&str, &str, u64)] = &[
        ("hunt/heartbeat/interval", "{value: 500ms, owner: ana, reason: calm}", 15),
        ("node/agent-2/heartbeat/interval", "250ms", 16),
        ("hunt/buffers/events", "lots", 17),
    ];

    fn interval() -> FieldPath {
        FieldPath::parse("heartbeat.interval").unwrap()
    }

    #[test]
    fn the_winner_comes_first_and_every_loser_is_named() {
        let view = explain(&harbour(EDITS), interval(), None, now());
        let claims: Vec<_> =
            view.claims.iter().map(|c| (shown(&c.value), layer(c.layer), c.wins)).collect();
        let expected = [
            ("500ms".to_owned(), "override/hunt", true),
            ("2s".to_owned(), "resource", false),
            ("1s".to_owned(), "default", false),
        ];
        assert_eq!(claims, expected);
        assert_eq!(view.claims[0].owner.as_deref(), Some("ana"));
        assert_eq!(view.differing.len(), 1);
        assert_eq!((view.nodes, view.confirmed), (2, 2));
        let text = view.text(Page::default());
        assert!(text.starts_with("heartbeat.interval = 500ms in default/harbour\n"), "{text}");
        assert!(text.contains("agent-2 has 250ms (override/node)"), "{text}");
        assert!(text.contains("from 20ms to 1m"), "{text}");
    }

    #[test]
    fn a_node_s_own_edit_wins_there() {
        let view = explain(&harbour(EDITS), interval(), Some(&node("agent-2")), now());
        assert_eq!((shown(&view.value), view.layer), ("250ms".to_owned(), Layer::Node));
        assert_eq!(view.claims.len(), 4);
    }

    #[test]
    fn a_refused_edit_of_the_field_is_told_once() {
        let path = FieldPath::parse("buffers.events").unwrap();
        let view = explain(&harbour(EDITS), path, None, now());
        assert_eq!(view.refused.len(), 1);
        assert!(view.text(Page::default()).contains("refused  override/hunt/buffers/events"));
        assert!(explain(&harbour(EDITS), interval(), None, now()).refused.is_empty());
    }

    #[test]
    fn a_last_good_value_that_an_agent_told_wins_and_is_told_as_held() {
        let path = FieldPath::parse("buffers.events").unwrap();
        let mut fleet = harbour(EDITS);
        let claim = serde_json::json!({"value": 2000, "layer": "hunt", "revision": 14});
        let fields = serde_json::json!({"buffers.events": claim});
        let config = serde_json::json!({"incarnation": "agent-1-life", "fields": fields});
        let held = last_good::heard(&fleet, &node("agent-1"), &config).unwrap();
        fleet.last_good.add(node("agent-1"), held);
        let view = explain(&fleet, path, None, now());
        assert_eq!((shown(&view.value), view.layer), ("2000".to_owned(), Layer::Hunt));
        assert!(view.claims[0].held && !view.claims[1].held && view.differing.is_empty());
        let text = view.text(Page::default());
        for said in [
            "2000 (held)",
            "held: last good value 2000, since the key's newest text is refused (on agent-1,",
            "known to the agents alone; no answer from agent-2",
        ] {
            assert!(text.contains(said), "{said} is missing in\n{text}");
        }
    }

    fn check(config: Json, agrees: Option<bool>, said: &str) {
        let says = heard("a:1", interval(), &config, &Json::from("250ms"));
        assert_eq!(says.agrees, agrees);
        assert!(says.text(Page::default()).contains(said), "{says:?}");
    }

    #[test]
    fn the_agent_agrees_or_differs_or_says_nothing() {
        let field = |value: &str| {
            serde_json::json!({"fields": {"heartbeat.interval":
            {"value": value, "layer": "node"}}})
        };
        check(field("250ms"), Some(true), "agrees: a:1 runs 250ms (node)");
        check(field("1s"), Some(false), "differs: a:1 runs 1s");
        check(serde_json::json!({}), None, "says nothing");
    }
}
