//! Makes a fault of the schedule happen to the hosts of a world, and ends it. In: faults. Out: hosts
//! that are frozen, crashed, cut off, told to leave, and healed again.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{AGENTS, OPERATORS, PARTITIONS, World};
use crate::schedule::{Fault, Way, Who};

/// Partitions that are wanted elsewhere at the same time.
const PINNED: u32 = 3;
/// How slow a way is that was slow before.
const HEALTHY: Duration = Duration::from_millis(5);

impl World<'_> {
    pub(super) fn begin(&mut self, fault: Fault, lasts: Duration) {
        let about = fault.about();
        let taken = self.ends.iter().flat_map(|(_, fault)| fault.about());
        if taken.into_iter().any(|who| about.contains(&who)) {
            return;
        }
        self.faults += 1;
        self.note(&format!("{fault:?} for {lasts:?}"));
        match fault {
            Fault::Freeze(who) => self.freeze(who, true),
            Fault::Crash(who) => self.sim.crash(who.to_string()),
            Fault::Cut(a, b, Way::Both) => self.sim.partition(a.to_string(), b.to_string()),
            Fault::Cut(a, b, Way::There) => {
                self.sim.partition_oneway(a.to_string(), b.to_string());
            }
            Fault::Cut(a, b, Way::Back) => self.sim.partition_oneway(b.to_string(), a.to_string()),
            Fault::Slow(a, b, by) => self.sim.set_link_latency(a.to_string(), b.to_string(), by),
            Fault::Skew(Who::Agent(number), millis) => self.agents[number].skew(millis),
            Fault::Skew(..) => {}
            Fault::Leave(who) => self.want(who, false),
            Fault::NoLeader => self.etcd.faults(|faults| faults.leader = false),
            Fault::Wipe => {
                self.etcd.wipe();
                self.records.store_wiped();
            }
            Fault::CutStreams => self.etcd.cut_streams(),
            Fault::LoseAnswers => self.etcd.faults(|faults| faults.lost_answers += 2),
            Fault::Pin { partition, agent } => {
                let pin = |further| {
                    format!("{}={}", (partition + further) % PARTITIONS, Who::Agent(agent))
                };
                let pins: Vec<String> = (0..PINNED).map(pin).collect();
                self.apply(|spec| spec["partitions"]["pins"] = json!(pins));
            }
        }
        self.ends.push((self.sim.elapsed() + lasts, fault));
    }

    pub(super) fn end(&mut self, fault: Fault) {
        self.note(&format!("over: {fault:?}"));
        match fault {
            Fault::Freeze(who) => self.freeze(who, false),
            Fault::Crash(who) => self.sim.bounce(who.to_string()),
            Fault::Cut(a, b, _) => self.sim.repair(a.to_string(), b.to_string()),
            Fault::Slow(a, b, _) => {
                self.sim.set_link_latency(a.to_string(), b.to_string(), HEALTHY);
            }
            Fault::Leave(who) => self.want(who, true),
            Fault::NoLeader => self.etcd.faults(|faults| faults.leader = true),
            Fault::Skew(..)
            | Fault::Wipe
            | Fault::CutStreams
            | Fault::LoseAnswers
            | Fault::Pin { .. } => {}
        }
    }

    fn freeze(&mut self, who: Who, frozen: bool) {
        match who {
            Who::Etcd => return self.etcd.faults(|faults| faults.frozen = frozen),
            Who::Agent(number) => self.agents[number].freeze(frozen),
            Who::Operator(number) if frozen => self.operators[number].freeze(),
            Who::Operator(number) => self.operators[number].thaw(),
        }
        // nothing that it said before gets out, nothing gets in: it waits in the network
        let all = (0..=AGENTS).map(Who::Agent).chain((0..OPERATORS).map(Who::Operator));
        let others = all.chain([Who::Etcd]).filter(|other| *other != who);
        for other in others.map(|other| other.to_string()).chain(["players".to_owned()]) {
            match frozen {
                true => self.sim.hold(who.to_string(), other),
                false => self.sim.release(who.to_string(), other),
            }
        }
    }

    fn want(&self, who: Who, wanted: bool) {
        if let Who::Agent(number) = who {
            self.agents[number].want(wanted);
        }
    }

    pub(super) fn apply(&self, change: impl FnOnce(&mut Json)) {
        self.applied.send_modify(|applied| {
            applied.generation += 1;
            change(&mut applied.spec);
        });
    }

    pub(super) fn heal(&mut self) {
        for (_, fault) in std::mem::take(&mut self.ends) {
            self.end(fault);
        }
        self.etcd.faults(|faults| faults.lost_answers = 0);
        self.agents.iter().for_each(|agent| agent.want(true));
        self.apply(|spec| spec["partitions"]["pins"] = json!([]));
        self.receipts.stop();
        self.note("all is healed, and players end with the event that they are at");
    }
}
