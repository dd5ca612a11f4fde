//! What one event costs a worker apart from the log: decode, decide, fold, encode, in memory, on
//! one core. `cargo run -p events --release --example decide -- [events] [players]`
#![allow(clippy::print_stdout, reason = "prints its findings")]

use std::time::Instant;

use config_schemas::{Epoch, Offset, PartitionId};
use events::{DecodeError, Event, EventId, HuntGame, HuntRules, Kind, PartitionState, Stamp};

fn main() -> Result<(), DecodeError> {
    let mut args = std::env::args().skip(1).map(|text| text.parse::<u64>().ok());
    let count = args.next().flatten().unwrap_or(1_000_000);
    let players = args.next().flatten().unwrap_or(10_000);
    let logged: Vec<Vec<u8>> = (0..count).map(|n| encoded(event(n, players))).collect();
    let bytes: usize = logged.iter().map(Vec::len).sum();
    println!("{count} events of {players} players, {} bytes each", bytes as u64 / count.max(1));
    let rules = HuntRules { cooldown_millis: 0, clues_per_treasure: 1, ..HuntRules::default() };
    let stamp = Stamp { partition: PartitionId(0), epoch: Epoch(1), config_revision: 1 };
    let mut state = PartitionState::<HuntGame>::default();
    let (mut out, mut size) = (Vec::with_capacity(1 << 20), 0);
    let (start, cpu) = (Instant::now(), cpu_nanos());
    for (offset, bytes) in logged.iter().enumerate() {
        let event = Event::decode(bytes)?;
        let record = state.decide(Offset(offset as u64), &event, &rules, stamp);
        if let Some(record) = record {
            state.fold(&record);
            record.encode(&mut out);
        }
        // as a worker does with each batch
        if out.len() > 1 << 19 {
            size += out.len();
            out.clear();
        }
    }
    let (wall, cpu) = (start.elapsed().as_nanos() as f64, cpu_nanos().zip(cpu));
    size += out.len();
    // on a busy machine only the thread's own time on a core says what an event costs
    let spent = cpu.map_or(wall, |(after, before)| (after - before) as f64);
    let per_event = spent / count.max(1) as f64;
    let (rate, each, waiting) =
        (1e9 / per_event, size as u64 / count.max(1), state.ledger().outbox_len());
    println!("decode, decide, fold, encode: {per_event:.0} ns an event, {rate:.0}/s per core");
    println!("{each} bytes an outcome, {waiting} in the outbox");
    Ok(())
}

/// What this thread has spent on a core so far, where the system tells.
fn cpu_nanos() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split_whitespace().next()?.parse().ok()
}

/// Mostly moves, some clues, a few claims: as in a hunt.
fn event(n: u64, players: u64) -> Event {
    let id = EventId::new(format!("{n:032x}")).unwrap_or_else(|| unreachable!("hex is safe"));
    let (round, player) = (n / players, n % players);
    let (kind, treasure) = match round {
        0 => (Kind::Join, None),
        _ if round % 10 == 1 => (Kind::Solve, Some(format!("treasure-{round}"))),
        _ if round % 10 == 2 && player % 20 == 0 => {
            (Kind::Claim, Some(format!("treasure-{}", round - 1)))
        }
        _ => (Kind::Move, None),
    };
    Event {
        player: Some(format!("player-{player}")),
        treasure,
        clue: Some(1),
        ..Event::new(id, kind, 1_700_000_000_000 + n)
    }
}

fn encoded(event: Event) -> Vec<u8> {
    let mut bytes = Vec::new();
    event.encode(&mut bytes);
    bytes
}
