//! An agent under test whose events take time: the hunt's own game, and before each decision a rest
//! of as many microseconds as `rules.treasurePoints` says. So a node can be loaded to any share, and
//! retuned to be slow, without the processor that the other nodes of the test need as well.

use std::time::Duration;

use agent::options::Options;
use clap::Parser as _;
use config_schemas::Rules;
use events::{Decision, HuntGame, Input, Machine, OutcomeRecord, Vocabulary};

struct Toil;

impl Machine for Toil {
    type State = <HuntGame as Machine>::State;
    type Rules = (Duration, <HuntGame as Machine>::Rules);

    fn vocabulary() -> Vocabulary {
        HuntGame::vocabulary()
    }

    fn rules(settings: &Rules) -> Self::Rules {
        (Duration::from_micros(settings.treasurePoints), HuntGame::rules(settings))
    }

    fn decide(state: &Self::State, input: &Input<'_>, (rest, rules): &Self::Rules) -> Decision {
        std::thread::sleep(*rest);
        HuntGame::decide(state, input, rules)
    }

    fn fold(state: &mut Self::State, record: &OutcomeRecord) {
        HuntGame::fold(state, record);
    }

    fn part(state: &Self::State, goes: &dyn Fn(&str) -> bool) -> Self::State {
        HuntGame::part(state, goes)
    }

    fn absorb(state: &mut Self::State, part: Self::State) {
        HuntGame::absorb(state, part);
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    telemetry::logs::init();
    Ok(agent::run::run_with::<Toil>(options).await?)
}
