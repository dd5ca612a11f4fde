//! Our own planner at work on the same trace: the operator's code as it runs, fed with the
//! documents that agents write, each plan judged by its checker. Moves land at once; the time of
//! each decision is taken. Pure but for the stopwatch.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ::operator::placement::{
    Member, Placed, Rounds, Scene, Seen, Setup, Step, check, plan_placement,
};
use anyhow::ensure;
use config_schemas::documents::{NodeMode, Owner, PartitionRecord};
use config_schemas::{Config, Epoch, LOAD_WINDOW, Load, NodeName, PartitionId};
use jiff::{SignedDuration, Timestamp};

use super::trace::PARTITIONS;

/// Mean utilisation of the fleet: a busy one.
const UTILISATION: f64 = 0.6;
/// Plans in one round until nothing is left to do: moves of a node wait for each other.
const PLANS_MAX: usize = 200;

/// The planner and the hunt that it places.
pub(super) struct Ours {
    rounds: Rounds,
    setup: Setup,
    placed: BTreeMap<PartitionId, Placed>,
    now: Timestamp,
    pub(super) owners: Vec<usize>,
    /// Seconds of each decision.
    pub(super) took: Vec<f64>,
}

impl Ours {
    /// A hunt of which nobody has anything yet, with the settings' defaults.
    pub(super) fn new() -> Ours {
        let partitions = Config::default().partitions;
        let nowhere = |id| (PartitionId(id), Placed::Nowhere { epoch: Epoch(0) });
        Ours {
            rounds: Rounds::default(),
            setup: Setup {
                // One report a round: what is known is one average, as in the trace.
                round: LOAD_WINDOW,
                budget: partitions.budget as f64 / 100.0,
                tolerance: partitions.tolerance as f64 / 100.0,
                moves: usize::try_from(partitions.moves).unwrap_or(usize::MAX),
                drain: partitions.drain,
                paused: false,
                pins: BTreeMap::new(),
                lease: Duration::from_secs(5),
            },
            placed: (0..PARTITIONS as u32).map(nowhere).collect(),
            now: Timestamp::UNIX_EPOCH,
            owners: vec![usize::MAX; PARTITIONS],
            took: Vec::new(),
        }
    }

    /// One round with these loads on nodes of these capacities, 0 for those that are not there.
    pub(super) fn round(&mut self, known: &[f64], nodes: &[f64]) -> anyhow::Result<()> {
        let round = SignedDuration::try_from(self.setup.round)?;
        self.now = self.now.checked_add(round)?;
        self.report(known, nodes);
        let live = || (0..nodes.len()).filter(|node| nodes[*node] > 0.0);
        for _ in 0..PLANS_MAX {
            let begun = Instant::now();
            let alive = live().map(|node| (owner(node), NodeMode::Ready));
            let members: Vec<Member> = self.rounds.members(alive, &self.setup, self.now);
            let steps = self.decide(&members)?;
            self.took.push(begun.elapsed().as_secs_f64());
            if steps.is_empty() {
                return Ok(());
            }
            steps.iter().for_each(|step| self.land(step));
        }
        anyhow::bail!("placement does not come to rest within {PLANS_MAX} plans")
    }

    fn decide(&mut self, members: &[Member]) -> anyhow::Result<Vec<Step>> {
        let Ours { rounds, setup, placed, now, .. } = self;
        rounds.turn(members, placed, setup, *now);
        let (gone, freed) = (BTreeMap::new(), BTreeSet::new());
        let seen = Seen { hold: None, gone: &gone, freed: &freed, now: *now };
        let policy = rounds.policy(members, placed, setup, &seen);
        let costs = rounds.costs();
        let scene =
            Scene { nodes: members, partitions: placed, costs: &costs, policy: &policy, now: *now };
        let plan = plan_placement(scene);
        let wrong = check(&scene, &plan.steps);
        ensure!(wrong.is_empty(), "the checker refuses a plan: {wrong:?}");
        rounds.planned(&plan.steps, plan.running, placed, setup, *now);
        Ok(plan.steps)
    }

    /// Every node says what it carries, as agents do.
    fn report(&mut self, known: &[f64], nodes: &[f64]) {
        let room: f64 = nodes.iter().sum();
        let scale = UTILISATION * room / known.iter().sum::<f64>();
        for (node, weight) in nodes.iter().enumerate() {
            let Owner { node: name, incarnation } = owner(node);
            if *weight <= 0.0 {
                self.rounds.report(&name, None, self.now);
                continue;
            }
            let own = (0..PARTITIONS).filter(|partition| self.owners[*partition] == node);
            let costs = own.map(|p| (PartitionId(p as u32), known[p] * scale)).collect();
            let mut load = Load::at_rest(&incarnation, 0, *weight).with_costs(&costs);
            load.next_ms = u64::try_from(LOAD_WINDOW.as_millis()).ok();
            self.rounds.report(&name, Some(load), self.now);
        }
    }

    /// The step is committed and, if it is a move, handed over at once.
    fn land(&mut self, step: &Step) {
        let record = match &step.record {
            PartitionRecord::Mov { to, epoch, .. } => {
                PartitionRecord::Own { owner: to.clone(), epoch: epoch.next() }
            }
            other => other.clone(),
        };
        let id = step.partition;
        // As the operator's memory does: the first owner is no change of hands.
        if matches!(self.placed.get(&id), Some(Placed::Recorded(_))) {
            self.rounds.changed(id, self.now);
        }
        let number = record.owner().and_then(|owner| number(&owner.node));
        self.owners[id.0 as usize] = number.unwrap_or(usize::MAX);
        self.placed.insert(id, Placed::Recorded(record));
    }
}

fn owner(node: usize) -> Owner {
    let name = NodeName::new(format!("agent-{node:03}"));
    Owner { node: name.expect("a number makes a name"), incarnation: format!("life-of-{node}") }
}

fn number(node: &NodeName) -> Option<usize> {
    node.as_str().strip_prefix("agent-")?.parse().ok()
}
