//! `simulate`: runs simulated worlds, each in a process of its own, so that its seed decides all
//! that is random in it, and the same seed is the same world on every machine. I/O.

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use simulation::{Broken, Fleet, RANDOM, simulate};

/// The whole data plane in simulated worlds under seeded faults.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
struct Args {
    /// How many worlds.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first world's seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// One world again, the same as before. RUST_LOG=info shows what its hosts log.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Breaks the product on purpose: then a violation has to be found.
    #[arg(long = "break", value_name = "WHAT", value_enum)]
    broken: Option<What>,
}

/// What can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Owners do not look whether a newer one has claimed the partition.
    Fence,
    /// Offsets are kept beside the effects and not with them, and ids not at all.
    Offset,
    /// Partitions are handed over without waiting for what is still to be played.
    Drain,
    /// New partitions serve without what the ones that they are cut from know of their keys.
    Cut,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let broken = match args.broken {
        None => Broken::default(),
        Some(What::Fence) => {
            Broken { log: broker::sim::Sabotage { unfenced: true }, ..Broken::default() }
        }
        Some(What::Offset) => breaks(|agents| agents.parted = true),
        Some(What::Drain) => breaks(|agents| agents.undrained = true),
        Some(What::Cut) => breaks(|agents| agents.hasty = true),
    };
    let name = args.broken.and_then(|what| Some(what.to_possible_value()?.get_name().to_owned()));
    match args.seed {
        Some(seed) if std::env::var_os(RANDOM).is_some() => one(seed, broken),
        Some(seed) => Fleet { from: seed, seeds: 1, broken: name, shows: true }.run(),
        None => Fleet { from: args.from, seeds: args.seeds, broken: name, shows: false }.run(),
    }
}

fn breaks(what: impl FnOnce(&mut agent::sim::Sabotage)) -> Broken {
    let mut broken = Broken::default();
    what(&mut broken.agents);
    broken
}

/// The world itself, in the process that is there for it.
#[expect(clippy::print_stdout, reason = "the answer to the process that waits for it")]
fn one(seed: u64, broken: Broken) -> ExitCode {
    if std::env::var_os("RUST_LOG").is_some() {
        telemetry::logs::init();
    }
    match simulate(seed, broken) {
        Ok(ended) => {
            println!("{ended}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
