//! Which hunt has a topic that several of them name: the oldest, whoever was heard of first, so that
//! it is the same after a restart. In: what each hunt asks for. Out: who goes without, and what a
//! deletion has to spare. Pure.

use std::collections::{BTreeMap, BTreeSet};

use config_schemas::{HuntName, Revision};

use super::task::Asked;

/// What all hunts ask for.
#[derive(Debug, Default)]
pub struct Claims {
    claims: BTreeMap<HuntName, Claim>,
    /// Who names a topic.
    named: BTreeMap<String, BTreeSet<HuntName>>,
    /// Hunts that are not heard of yet; nothing is known before there is a list of all.
    unheard: Option<BTreeSet<HuntName>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Claim {
    since: Revision,
    cluster: Option<String>,
    topics: BTreeSet<String>,
}

impl Claim {
    fn of(asked: &Asked) -> Claim {
        let topics = asked.wanted.names().map(str::to_owned).collect();
        Claim { since: asked.since, cluster: asked.bound.clone(), topics }
    }
}

impl Claims {
    /// These hunts have to be heard before anybody is told what is theirs.
    pub fn expect(&mut self, hunts: impl IntoIterator<Item = HuntName>) {
        self.unheard = Some(hunts.into_iter().collect());
    }

    /// Whether all hunts were heard that were there at the beginning.
    pub fn are_known(&self) -> bool {
        self.unheard.as_ref().is_some_and(BTreeSet::is_empty)
    }

    /// Hears what a hunt asks for now, if anything. Out: other hunts to which that may make a
    /// difference; none when it says nothing new.
    pub fn hear(&mut self, hunt: &HuntName, asked: Option<&Asked>) -> BTreeSet<HuntName> {
        let last = self.unheard.as_mut().is_some_and(|left| left.remove(hunt) && left.is_empty());
        let mut concerned = self.claim(hunt, asked.map(Claim::of));
        if last {
            concerned.extend(self.claims.keys().filter(|other| *other != hunt).cloned());
        }
        concerned
    }

    fn claim(&mut self, hunt: &HuntName, claim: Option<Claim>) -> BTreeSet<HuntName> {
        let mut concerned = BTreeSet::new();
        if self.claims.get(hunt) == claim.as_ref() {
            return concerned;
        }
        for topic in self.claims.remove(hunt).into_iter().flat_map(|before| before.topics) {
            let Some(hunts) = self.named.get_mut(&topic) else { continue };
            hunts.remove(hunt);
            concerned.extend(hunts.iter().cloned());
            if hunts.is_empty() {
                self.named.remove(&topic);
            }
        }
        if let Some(claim) = claim {
            for topic in &claim.topics {
                let hunts = self.named.entry(topic.clone()).or_default();
                concerned.extend(hunts.iter().cloned());
                hunts.insert(hunt.clone());
            }
            self.claims.insert(hunt.clone(), claim);
        }
        concerned
    }

    /// A topic of the hunt that an older one names in the same cluster, and which. Of two that are
    /// equally old, the one whose name comes first counts as older.
    pub fn taken<'a>(&'a self, hunt: &HuntName) -> Option<(&'a str, &'a HuntName)> {
        let own = self.claims.get(hunt)?;
        let cluster = own.cluster.as_ref()?;
        self.rivals(hunt, own).find_map(|(topic, other, theirs)| {
            let older = (theirs.since, other) < (own.since, hunt);
            (older && theirs.cluster.as_ref() == Some(cluster)).then_some((topic, other))
        })
    }

    /// Topics of the hunt that another one names, in the same cluster or in one that nobody knows
    /// yet.
    pub fn shared(&self, hunt: &HuntName) -> BTreeSet<String> {
        let Some(own) = self.claims.get(hunt) else { return BTreeSet::new() };
        let shared = self.rivals(hunt, own).filter(|(_, _, theirs)| {
            theirs.cluster.is_none() || own.cluster.is_none() || theirs.cluster == own.cluster
        });
        shared.map(|(topic, ..)| topic.to_owned()).collect()
    }

    /// The topics of the hunt that others name, with who does.
    fn rivals<'a, 'h>(
        &'a self,
        hunt: &'h HuntName,
        own: &'a Claim,
    ) -> impl Iterator<Item = (&'a str, &'a HuntName, &'a Claim)> + use<'a, 'h> {
        let named = own.topics.iter().filter_map(|topic| self.named.get_key_value(topic));
        let others = named.flat_map(move |(topic, hunts)| {
            hunts.iter().filter(move |other| *other != hunt).map(move |other| (topic, other))
        });
        others.filter_map(|(topic, other)| Some((topic.as_str(), other, self.claims.get(other)?)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use config_schemas::Config;

    use super::*;
    use crate::topics::wanted::TopicsWanted;

    pub(in crate::topics) fn hunt(name: &str) -> HuntName {
        HuntName::new("play", name).unwrap()
    }

    /// Of a hunt with an events topic of that name; its others are its own.
    pub(in crate::topics) fn asked(
        name: &str,
        since: u64,
        cluster: Option<&str>,
        events: &str,
    ) -> Asked {
        let mut config = Config::default();
        config.topics.events = events.to_owned();
        Asked {
            hunt: hunt(name),
            wanted: TopicsWanted::of(&hunt(name), &config, 4),
            config: Arc::new(config),
            since: Revision::new(since).unwrap(),
            bound: cluster.map(str::to_owned),
            remove: false,
        }
    }

    fn heard(all: &[&Asked]) -> Claims {
        let mut claims = Claims::default();
        claims.expect(all.iter().map(|asked| asked.hunt.clone()));
        for asked in all {
            assert!(!claims.are_known());
            claims.hear(&asked.hunt, Some(asked));
        }
        assert!(claims.are_known());
        claims
    }

    #[test]
    fn the_oldest_hunt_has_a_topic_in_whichever_order_they_are_heard() {
        let old = asked("zebra", 5, Some("c"), "game");
        let young = asked("ant", 9, Some("c"), "game");
        for order in [[&old, &young], [&young, &old]] {
            let claims = heard(&order);
            assert_eq!(claims.taken(&hunt("ant")), Some(("game", &hunt("zebra"))));
            assert_eq!(claims.taken(&hunt("zebra")), None);
        }
        let twin = asked("bee", 9, Some("c"), "game");
        for order in [[&twin, &young], [&young, &twin]] {
            assert_eq!(heard(&order).taken(&hunt("bee")), Some(("game", &hunt("ant"))));
        }
    }

    #[test]
    fn a_topic_of_that_name_elsewhere_or_nowhere_yet_is_another() {
        let here = asked("zebra", 5, Some("c"), "game");
        for other in [Some("d"), None] {
            let other = asked("ant", 9, other, "game");
            let claims = heard(&[&here, &other]);
            assert_eq!((claims.taken(&hunt("ant")), claims.taken(&hunt("zebra"))), (None, None));
        }
    }

    #[test]
    fn what_another_hunt_names_is_shared_by_old_and_young_alike() {
        let check = |cluster: Option<&str>, expected: &[&str]| {
            let old = asked("zebra", 5, Some("c"), "game");
            let young = asked("ant", 9, cluster, "game");
            let claims = heard(&[&old, &young]);
            for name in ["zebra", "ant"] {
                let shared = claims.shared(&hunt(name));
                assert_eq!(shared.iter().collect::<Vec<_>>(), expected, "{name} {cluster:?}");
            }
        };
        check(Some("c"), &["game"]);
        check(None, &["game"]);
        check(Some("d"), &[]);
        let alone = asked("zebra", 5, Some("c"), "game");
        assert!(heard(&[&alone]).shared(&hunt("zebra")).is_empty());
    }

    #[test]
    fn whoever_shares_a_topic_hears_when_it_is_named_and_when_not() {
        let old = asked("zebra", 5, Some("c"), "game");
        let young = asked("ant", 9, Some("c"), "game");
        let mut claims = heard(&[&old]);
        assert_eq!(claims.hear(&young.hunt, Some(&young)), [hunt("zebra")].into());
        assert_eq!(claims.hear(&young.hunt, Some(&young)), [].into());
        let elsewhere = asked("zebra", 5, Some("c"), "other");
        assert_eq!(claims.hear(&old.hunt, Some(&elsewhere)), [hunt("ant")].into());
        assert_eq!(claims.taken(&hunt("ant")), None);
        assert_eq!(claims.hear(&old.hunt, Some(&old)), [hunt("ant")].into());
        assert_eq!(claims.hear(&old.hunt, None), [hunt("ant")].into());
        assert!(claims.taken(&hunt("ant")).is_none() && claims.shared(&hunt("ant")).is_empty());
    }

    #[test]
    fn when_the_last_hunt_is_heard_all_others_are_looked_at_again() {
        let (old, young) = (asked("zebra", 5, Some("c"), "a"), asked("ant", 9, Some("c"), "b"));
        let mut claims = Claims::default();
        claims.hear(&old.hunt, Some(&old));
        assert!(!claims.are_known(), "nobody said who there is");
        claims.expect([hunt("ant"), hunt("zebra"), hunt("bee")]);
        assert_eq!(claims.hear(&young.hunt, Some(&young)), [].into());
        assert_eq!(claims.hear(&old.hunt, Some(&old)), [].into());
        assert_eq!(claims.hear(&hunt("bee"), None), [hunt("ant"), hunt("zebra")].into());
        assert!(claims.are_known());
    }
}
