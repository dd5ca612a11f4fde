//! The real client against the in-memory etcd on a simulated network and clock: seeded faults,
//! then healing, then convergence within bounded time. A failing seed says how to replay it.

mod campaigns;
mod faults;
mod follower;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds of one run; more in the night with TREASUREHUNT_SEEDS.
const SEEDS: u64 = 100;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs the simulation for each seed, on as many threads as there are cores.
fn for_each_seed(simulate: fn(u64) -> Result<(), String>) {
    if let Some(seed) = number("TREASUREHUNT_SEED") {
        return simulate(seed).expect("the replayed seed");
    }
    let (next, seeds) = (AtomicU64::new(0), number("TREASUREHUNT_SEEDS").unwrap_or(SEEDS));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    if let Err(what) = simulate(seed) {
                        next.store(seeds, Ordering::Relaxed);
                        panic!("{what}\nreplay with TREASUREHUNT_SEED={seed}");
                    }
                }
            });
        }
    });
}

#[test]
fn followers_and_sessions_converge_after_any_faults() {
    for_each_seed(world::simulate);
}

#[test]
fn leaders_never_write_after_their_successor() {
    for_each_seed(campaigns::simulate);
}
