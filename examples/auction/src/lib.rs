//! An auction house on TreasureHunt's partitions, as a user of the library would write it. A lot is
//! a key: all bids on it are played by one worker, in order. In: bids. Out: who leads. Pure.

use std::collections::HashMap;

use config_schemas::Rules;
use events::{
    Decision, Event, Field, Input, Kind, KindRule, Machine, Outcome, OutcomeRecord, Refusal,
    Vocabulary,
};
use serde::{Deserialize, Serialize};

/// The highest bid on a lot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bid {
    /// Which lot; an event's `treasure`.
    pub lot: String,
    /// Who bids; an event's `player`.
    pub bidder: String,
    /// How much; the payload is `{"amount": 120}`.
    pub amount: u64,
}

/// What the outcome of a bid that is the highest is called.
pub const LEADS: &str = "leads";

/// The one kind of events: ordered, since the first of two equal bids leads.
const BID: KindRule = KindRule {
    kind: "bid",
    key: Field::Treasure,
    player: true,
    treasure: true,
    clue: false,
    internal: false,
    ordered: true,
};

/// The machine.
#[derive(Debug, Clone, Copy)]
pub struct Auction;

impl Machine for Auction {
    type State = HashMap<String, Bid>;
    /// The least step between two bids: the setting `rules.cluePoints`, which is edited live.
    type Rules = u64;

    fn vocabulary() -> Vocabulary {
        Vocabulary { kinds: &[BID] }
    }

    fn rules(settings: &Rules) -> u64 {
        settings.cluePoints
    }

    fn decide(leaders: &HashMap<String, Bid>, input: &Input<'_>, step: &u64) -> Decision {
        let Some(bid) = bid(input.event) else {
            return Decision::dead_letter(r#"a bid needs a payload such as {"amount": 120}"#);
        };
        let least = leaders.get(&bid.lot).map_or(1, |leader| leader.amount.saturating_add(*step));
        if bid.amount < least {
            return Decision::refuse(Refusal::Custom { why: format!("bid at least {least}") });
        }
        let data_json = serde_json::json!(bid).to_string();
        Decision::only(Outcome::Custom { name: LEADS.to_owned(), data_json })
    }

    fn fold(leaders: &mut HashMap<String, Bid>, record: &OutcomeRecord) {
        if let Outcome::Custom { data_json, .. } = &record.outcome
            && let Ok(bid) = serde_json::from_str::<Bid>(data_json)
        {
            leaders.insert(bid.lot.clone(), bid);
        }
    }

    fn part(leaders: &HashMap<String, Bid>, goes: &dyn Fn(&str) -> bool) -> HashMap<String, Bid> {
        let going = leaders.iter().filter(|(lot, _)| goes(lot));
        going.map(|(lot, bid)| (lot.clone(), bid.clone())).collect()
    }

    fn absorb(leaders: &mut HashMap<String, Bid>, part: HashMap<String, Bid>) {
        leaders.extend(part);
    }
}

fn bid(event: &Event) -> Option<Bid> {
    let payload: serde_json::Value = serde_json::from_str(event.payload_json.as_deref()?).ok()?;
    let amount = payload.get("amount")?.as_u64()?;
    Some(Bid { lot: event.treasure.clone()?, bidder: event.player.clone()?, amount })
}

/// The kind of a bid, for making one.
pub fn kind() -> Kind {
    Kind::Custom(BID.kind.to_owned())
}
