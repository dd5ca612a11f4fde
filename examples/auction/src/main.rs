//! An agent that runs the auction instead of the hunt; flags, settings and ports are the agent's.
//! `cargo run -p auction -- --hunt default/house --node agent-1`, and bids by HTTP:
//! `{"kind": "bid", "treasure": "vase", "player": "ana", "payload": {"amount": 120}}`.

use agent::options::Options;
use auction::Auction;
use clap::Parser as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    telemetry::logs::init();
    Ok(agent::run::run_with::<Auction>(options).await?)
}
