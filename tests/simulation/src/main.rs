//! `simulate`: runs simulated worlds.
fn main() {
    let seed: u64 = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(1);
    telemetry::logs::init();
    let began = std::time::Instant::now();
    let ended = simulation::simulate(seed, simulation::Broken::default());
    eprintln!("{ended:?} {:?}", began.elapsed());
    if let Err(error) = ended {
        eprintln!("{error}");
    }
}
