//! What goes wrong in a simulated world, when, and for how long. In: a seed. Out: one fault after
//! the other. Pure.

use std::fmt;
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::SmallRng;

/// The longest lease of any world; a freeze lasts up to twice as long.
pub(crate) const LEASE_MAX: Duration = Duration::from_secs(4);

/// A host, by its kind and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Who {
    Agent(usize),
    Operator(usize),
    Etcd,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Agent(number) => write!(f, "agent-{number}"),
            Who::Operator(number) => write!(f, "operator-{number}"),
            Who::Etcd => f.write_str("etcd"),
        }
    }
}

/// Which way nothing gets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Both,
    There,
    Back,
}

/// Something that goes wrong, or that people do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Stopped as by SIGSTOP, and then let go on.
    Freeze(Who),
    /// Killed, and started again.
    Crash(Who),
    /// The network between two loses everything.
    Cut(Who, Who, Way),
    /// The network between two is slow.
    Slow(Who, Who, Duration),
    /// A wall clock is wrong from now on, by so many milliseconds.
    Skew(Who, i64),
    /// An agent ends in order, its partitions first, and is started again.
    Leave(Who),
    /// etcd has no leader.
    NoLeader,
    /// etcd loses all its data, and begins anew.
    Wipe,
    /// etcd ends all streams.
    CutStreams,
    /// etcd carries the next writes out and their answers are lost.
    LoseAnswers,
    /// Somebody wants partitions to be elsewhere: planned moves.
    Pin { partition: u32, agent: usize },
}

impl Fault {
    /// The hosts whose other faults wait until this one is over.
    pub(crate) fn about(&self) -> Vec<Who> {
        match *self {
            Fault::Freeze(who) | Fault::Crash(who) | Fault::Leave(who) => vec![who],
            // etcd's own faults and those of the ways to it do not get in each other's way
            Fault::Cut(a, Who::Etcd, _) | Fault::Slow(a, Who::Etcd, _) => vec![a],
            Fault::Cut(a, b, _) | Fault::Slow(a, b, _) => vec![a, b],
            Fault::NoLeader => vec![Who::Etcd],
            Fault::Wipe => vec![Who::Etcd],
            Fault::Skew(..) | Fault::CutStreams | Fault::LoseAnswers | Fault::Pin { .. } => vec![],
        }
    }
}

/// How large the world is that faults are drawn for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) agents: usize,
    pub(crate) operators: usize,
    pub(crate) partitions: u32,
}

/// The next fault, and how long it lasts.
pub(crate) fn any(rng: &mut SmallRng, size: Size) -> (Fault, Duration) {
    let agent = Who::Agent(rng.random_range(0..size.agents));
    let operator = Who::Operator(rng.random_range(0..size.operators));
    let way = match rng.random_range(0..4) {
        0 => Way::There,
        1 => Way::Back,
        _ => Way::Both,
    };
    let fault = match rng.random_range(0..33) {
        0..5 => Fault::Freeze(agent),
        5..8 => Fault::Crash(agent),
        8..12 => Fault::Cut(agent, Who::Etcd, way),
        12 | 13 => {
            let Who::Agent(number) = agent else { return (Fault::CutStreams, Duration::ZERO) };
            let other = (number + 1 + rng.random_range(0..size.agents - 1)) % size.agents;
            Fault::Cut(agent, Who::Agent(other), way)
        }
        14 => Fault::Cut(operator, Who::Etcd, way),
        15 => Fault::Freeze(operator),
        16 => Fault::Crash(operator),
        17 => Fault::Crash(Who::Etcd),
        18 => Fault::Freeze(Who::Etcd),
        19 => Fault::NoLeader,
        20 => Fault::Slow(agent, Who::Etcd, Duration::from_millis(rng.random_range(50..900))),
        21 => Fault::CutStreams,
        22 => Fault::LoseAnswers,
        23 | 24 => Fault::Skew(agent, rng.random_range(-3_600_000..3_600_000)),
        25..28 => Fault::Leave(agent),
        28 => Fault::Wipe,
        _ => Fault::Pin {
            partition: rng.random_range(0..size.partitions),
            agent: rng.random_range(0..size.agents),
        },
    };
    (fault, lasts(rng))
}

/// Some are shorter than any time-out, some outlast every lease.
fn lasts(rng: &mut SmallRng) -> Duration {
    let longest = if rng.random_bool(0.4) { Duration::from_millis(900) } else { LEASE_MAX * 2 };
    rng.random_range(Duration::from_millis(20)..longest)
}
