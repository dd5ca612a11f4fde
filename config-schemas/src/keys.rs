//! Where everything stands in etcd, and who writes it. In: names. Out: keys; and back. The only
//! place that builds or takes apart a key. Pure.

use crate::names::{Generation, HuntName, NodeName, PartitionId};

/// Everything of TreasureHunt in etcd.
pub const ROOT: &str = "/treasurehunt/";

/// Held by the operator that leads; no namespace can begin with a dot.
pub const LEADER: &str = "/treasurehunt/.operator/leader/";

/// The id of a hunt whose source keeps none, decided once by whoever creates the key first:
/// followed by `<namespace>/<name>`. Goes with the hunt.
pub const IDENTITY: &str = "/treasurehunt/.operator/identity/";

/// Builds the keys of one hunt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HuntKeys {
    prefix: String,
}

/// What a key of a hunt stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The root marker. Writer: operator.
    Meta,
    /// One kept configuration. Writer: operator.
    Desired(Generation),
    /// Which generation runs where. Writer: operator.
    Rollout,
    /// A live edit, by what follows `override/`. Writer: people.
    Override(String),
    /// A node that lives. Writer: that agent.
    Node(NodeName),
    /// What a node carries. Writer: that agent.
    Load(NodeName),
    /// What a node runs. Writer: that agent.
    Ack(NodeName),
    /// Who owns a partition. Writer: placement controller; release by the owner.
    Partition(PartitionId),
    /// A destination is ready to take a partition. Writer: that agent.
    Warm(PartitionId),
    /// Hot keys. Writer: placement controller.
    Routing,
    /// Nothing of ours; left alone and reported.
    Unknown(String),
}

impl HuntKeys {
    /// The keys of that hunt.
    pub fn new(hunt: &HuntName) -> HuntKeys {
        HuntKeys { prefix: format!("{ROOT}{}/{}/", hunt.namespace, hunt.name) }
    }

    /// What every key of the hunt begins with; ends in `/`, so that `a` never sees `ab`.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What an agent follows, as a half-open span: `meta`, `node/`, `override/`, `partition/`,
    /// `rollout`, `routing`, `warm/`. The span leaves out `ack/`, `load/` (each agent's own, of no
    /// interest to the others) and `desired/` (immutable, fetched once when the rollout names it).
    /// `warm/` concerns two agents at a time, and all see it: two small events for each move,
    /// which is less than a stream of its own for each agent.
    pub fn agent_span(&self) -> (String, String) {
        (format!("{}meta", self.prefix), format!("{}warm0", self.prefix))
    }

    /// The key of the hunt's id; see [`IDENTITY`].
    pub fn identity(&self) -> String {
        let hunt = self.prefix.strip_prefix(ROOT).unwrap_or(&self.prefix);
        IDENTITY.to_owned() + hunt.trim_end_matches('/')
    }

    /// The key of `what`.
    pub fn key(&self, what: &Key) -> String {
        let rest = match what {
            Key::Meta => "meta".to_owned(),
            Key::Desired(generation) => format!("desired/{generation}"),
            Key::Rollout => "rollout".to_owned(),
            Key::Override(rest) => format!("override/{rest}"),
            Key::Node(node) => format!("node/{node}"),
            Key::Load(node) => format!("load/{node}"),
            Key::Ack(node) => format!("ack/{node}"),
            Key::Partition(id) => format!("partition/{id}"),
            Key::Warm(id) => format!("warm/{id}"),
            Key::Routing => "routing".to_owned(),
            Key::Unknown(rest) => rest.clone(),
        };
        self.prefix.clone() + &rest
    }

    /// What `key` stands for; `None` when it is another hunt's.
    pub fn parse(&self, key: &str) -> Option<Key> {
        key.strip_prefix(&self.prefix).map(parse_rest)
    }
}

/// The hunt that a key belongs to, and what it stands for there; `None` for keys of no hunt.
pub fn parse(key: &str) -> Option<(HuntName, Key)> {
    let rest = key.strip_prefix(ROOT)?;
    let (namespace, rest) = rest.split_once('/')?;
    let (name, rest) = rest.split_once('/')?;
    Some((HuntName::new(namespace, name).ok()?, parse_rest(rest)))
}

fn parse_rest(rest: &str) -> Key {
    let known = match rest.split_once('/') {
        None => match rest {
            "meta" => Some(Key::Meta),
            "rollout" => Some(Key::Rollout),
            "routing" => Some(Key::Routing),
            _ => None,
        },
        Some(("desired", generation)) => canonical(generation).map(Key::Desired),
        Some(("override", rest)) => Some(Key::Override(rest.to_owned())),
        Some(("node", node)) => NodeName::new(node).ok().map(Key::Node),
        Some(("load", node)) => NodeName::new(node).ok().map(Key::Load),
        Some(("ack", node)) => NodeName::new(node).ok().map(Key::Ack),
        Some(("partition", id)) => canonical(id).map(Key::Partition),
        Some(("warm", id)) => canonical(id).map(Key::Warm),
        Some(_) => None,
    };
    known.unwrap_or_else(|| Key::Unknown(rest.to_owned()))
}

/// A number written as we write it, so that no two keys stand for the same thing.
fn canonical<T: std::str::FromStr + ToString>(text: &str) -> Option<T> {
    text.parse::<T>().ok().filter(|number| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn harbour() -> HuntKeys {
        HuntKeys::new(&HuntName::new("default", "harbour").unwrap())
    }

    #[test]
    fn every_key_reads_back_as_what_it_was_built_from() {
        let node = || NodeName::new("agent-1").unwrap();
        for what in [
            Key::Meta,
            Key::Desired(Generation(7)),
            Key::Rollout,
            Key::Override("hunt/heartbeat/interval".into()),
            Key::Node(node()),
            Key::Load(node()),
            Key::Ack(node()),
            Key::Partition(PartitionId(12)),
            Key::Warm(PartitionId(0)),
            Key::Routing,
        ] {
            let key = harbour().key(&what);
            assert_eq!(harbour().parse(&key), Some(what.clone()), "{key}");
            assert_eq!(parse(&key).map(|(_, what)| what), Some(what), "{key}");
        }
    }

    #[test]
    fn stray_keys_are_unknown_and_other_hunts_are_not_ours() {
        for rest in ["", "x", "desired/07", "desired/-1", "partition/99999999999", "node/A", "a/b"]
        {
            let key = format!("/treasurehunt/default/harbour/{rest}");
            assert_eq!(harbour().parse(&key), Some(Key::Unknown(rest.into())));
        }
        assert_eq!(harbour().parse("/treasurehunt/default/harbour2/meta"), None);
        let identity = harbour().identity();
        assert_eq!(identity, "/treasurehunt/.operator/identity/default/harbour");
        for key in [LEADER, &identity, ROOT, "/other/default/harbour/meta", "/treasurehunt/a/b", ""]
        {
            assert_eq!(parse(key), None, "{key}");
        }
    }

    #[test]
    fn an_agent_follows_what_concerns_it_and_nothing_that_others_write_often() {
        let (from, to) = harbour().agent_span();
        let node = || NodeName::new("agent-1").unwrap();
        let followed = |what: &Key| (from.clone()..to.clone()).contains(&harbour().key(what));
        for what in [
            Key::Meta,
            Key::Rollout,
            Key::Override("hunt/x/y".into()),
            Key::Node(node()),
            Key::Partition(PartitionId(4095)),
            Key::Routing,
            Key::Warm(PartitionId(4095)),
        ] {
            assert!(followed(&what), "{what:?}");
        }
        for what in [Key::Ack(node()), Key::Load(node()), Key::Desired(Generation(1))] {
            assert!(!followed(&what), "{what:?}");
        }
    }
}
