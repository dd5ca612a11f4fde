//! One simulated world: an etcd, three followers, a session, a schedule of writes and faults;
//! then everything is healed and has to converge.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use store::sim::{Backup, SimEtcd};
use store::{Claim, Session, SessionOptions};
use turmoil::Sim;

use crate::faults::{Fault, any};
use crate::follower::{self, View};

const FOLLOWERS: usize = 3;
const TICK: Duration = Duration::from_millis(20);
/// Faults and writes happen for this long.
const TROUBLE: Duration = Duration::from_secs(25);
/// After healing everything has to agree within this long: a broken connection is noticed within
/// 9 s, an attempt waits 4 s at most, an audit comes within 6 s and compares a second later.
const CONVERGES_WITHIN: Duration = Duration::from_secs(40);
const PAIRS: u32 = 4;

struct World<'a> {
    sim: Sim<'a>,
    etcd: SimEtcd,
    rng: SmallRng,
    views: Vec<View>,
    /// When which fault is over.
    ends: Vec<(Duration, Fault)>,
    backup: Option<Backup>,
    writes: u64,
    log: Vec<(Duration, Fault)>,
}

pub(crate) fn simulate(seed: u64) -> Result<(), String> {
    let mut world = World::new(seed);
    let done = world.run();
    done.map_err(|what| format!("{what}\nfaults: {:?}", world.log))
}

/// Holds a name and renews its value, for ever.
async fn hold(seed: u64) -> turmoil::Result {
    let store = follower::connect(seed)?;
    let options =
        SessionOptions { ttl: Duration::from_secs(3), interval: Duration::from_millis(500) };
    let session = Session::start(&store, options);
    let mine = |entry: &store::Entry| entry.value.starts_with(b"s:");
    session.attach("/h/node/s", "s:0", Claim::or_if(mine)).await?;
    // Half of the worlds never change the value, so that only the session itself can notice a
    // key that somebody deleted.
    for n in (0..).map(|n| n * (seed % 2)) {
        tokio::time::sleep(Duration::from_millis(700)).await;
        session.update("/h/node/s", format!("s:{n}")).await?;
        let ttl = Duration::from_secs(3 + n % 2);
        if n % 5 == 0 {
            session.retune(ttl, options.interval).await?;
        }
    }
    Ok(())
}

impl World<'_> {
    fn new(seed: u64) -> Self {
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .tick_duration(TICK)
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(40))
            .simulation_duration(TROUBLE + CONVERGES_WITHIN + Duration::from_secs(5))
            .tcp_capacity(4096)
            .enable_random_order()
            .build();
        let etcd = SimEtcd::new();
        let mut rng = SmallRng::seed_from_u64(seed);
        // Most messages are split, also in the middle of a revision.
        etcd.faults(|faults| faults.fragment_bytes = rng.random_range(1..600));
        let served = etcd.clone();
        sim.host("etcd", move || {
            let etcd = served.clone();
            async move { Ok(etcd.serve_turmoil(2379).await?) }
        });
        let views: Vec<View> = (0..FOLLOWERS).map(|_| View::default()).collect();
        for (n, view) in views.iter().enumerate() {
            sim.client(format!("client{n}"), follower::run(seed, view.clone()));
        }
        sim.client(format!("client{FOLLOWERS}"), hold(seed));
        let (ends, log) = (Vec::new(), Vec::new());
        Self { sim, etcd, rng, views, ends, backup: None, writes: 0, log }
    }

    fn run(&mut self) -> Result<(), String> {
        self.bootstrap();
        while self.sim.elapsed() < TROUBLE {
            self.step()?;
            if self.rng.random_bool(0.16) {
                self.write();
            }
            if self.rng.random_bool(0.012) {
                let fault = any(&mut self.rng, FOLLOWERS + 1, true);
                self.begin(fault);
            }
        }
        self.heal();
        while self.sim.elapsed() < TROUBLE + CONVERGES_WITHIN {
            self.step()?;
            if self.agrees() {
                return Ok(());
            }
        }
        let seen = self.views.iter().map(|view| format!("{}\n{:?}", view.status(), view.entries()));
        Err(format!("no convergence\nstore: {:?}\n{}", self.stored(), seen.collect::<String>()))
    }

    fn step(&mut self) -> Result<(), String> {
        self.sim.step().map_err(|e| format!("{e}: {e:?}"))?;
        let now = self.sim.elapsed();
        let over: Vec<Fault> =
            self.ends.extract_if(.., |(end, _)| *end <= now).map(|(_, fault)| fault).collect();
        for fault in over {
            self.end(fault);
        }
        Ok(())
    }

    fn bootstrap(&mut self) {
        let epoch = format!("epoch {}", self.writes);
        self.etcd.change(|store| store.write("/h/meta", &epoch));
    }

    fn write(&mut self) {
        self.writes += 1;
        let value = self.writes.to_string();
        let n = self.rng.random_range(0..PAIRS);
        let (a, b) = (format!("/h/pair/a{n}"), format!("/h/pair/b{n}"));
        let kind = self.rng.random_range(0..10);
        self.etcd.change(|store| match kind {
            0..5 => store.transact(&[(&a, Some(&value)), (&b, Some(&value))]),
            5 | 6 => store.transact(&[(&a, None), (&b, None)]),
            7 => store.write("/h/single", &value),
            8 => store.remove("/h/single"),
            _ => store.write("/elsewhere", &value),
        });
    }

    fn begin(&mut self, fault: Fault) {
        let now = self.sim.elapsed();
        self.log.push((now, fault));
        let ends = |lasts: Duration| (now + lasts, fault);
        match fault {
            Fault::Compact => self.etcd.compact(self.etcd.look(|store| store.revision())),
            Fault::CutStreams => self.etcd.cut_streams(),
            Fault::NoLeader(lasts) => {
                self.etcd.faults(|faults| faults.leader = false);
                self.ends.push(ends(lasts));
            }
            Fault::Frozen(lasts) => {
                self.etcd.faults(|faults| faults.frozen = true);
                self.ends.push(ends(lasts));
            }
            Fault::Mute(lasts) => {
                self.etcd.faults(|faults| faults.mute = true);
                self.ends.push(ends(lasts));
            }
            Fault::Full(lasts) => {
                self.etcd.faults(|faults| faults.full = true);
                self.ends.push(ends(lasts));
            }
            Fault::RefuseWatches(lasts) => {
                let reason = "rpc error: code = Unauthenticated desc = invalid auth token";
                self.etcd.faults(|faults| faults.refuse_watches = Some(reason.into()));
                self.ends.push(ends(lasts));
            }
            Fault::Partition { client, oneway, lasts } => {
                let client = format!("client{client}");
                match oneway {
                    None => self.sim.partition(client, "etcd"),
                    Some(true) => self.sim.partition_oneway(client, "etcd"),
                    Some(false) => self.sim.partition_oneway("etcd", client),
                }
                self.ends.push(ends(lasts));
            }
            Fault::Crash(lasts) => {
                self.sim.crash("etcd");
                self.ends.push(ends(lasts));
            }
            Fault::Wipe(lasts) => {
                self.etcd.wipe();
                self.ends.push(ends(lasts));
            }
            Fault::DeleteAll(lasts) => {
                let keys: Vec<String> = self.stored().into_keys().collect();
                let deletes: Vec<_> = keys.iter().map(|key| (key.as_str(), None)).collect();
                self.etcd.change(|store| store.transact(&deletes));
                self.ends.push(ends(lasts));
            }
            Fault::Backup => self.backup = Some(self.etcd.backup()),
            Fault::Restore => {
                if let Some(backup) = &self.backup {
                    self.etcd.restore(backup);
                }
            }
            Fault::Swallow => self.etcd.faults(|faults| faults.swallow_revisions += 2),
            Fault::Garble => self.etcd.faults(|faults| faults.garble_events += 1),
            Fault::LoseAnswers => self.etcd.faults(|faults| faults.lost_answers += 2),
        }
    }

    fn end(&mut self, fault: Fault) {
        match fault {
            Fault::NoLeader(_) => self.etcd.faults(|faults| faults.leader = true),
            Fault::Frozen(_) => self.etcd.faults(|faults| faults.frozen = false),
            Fault::Mute(_) => self.etcd.faults(|faults| faults.mute = false),
            Fault::Full(_) => self.etcd.faults(|faults| faults.full = false),
            Fault::RefuseWatches(_) => self.etcd.faults(|faults| faults.refuse_watches = None),
            Fault::Partition { client, .. } => {
                self.sim.repair(format!("client{client}"), "etcd");
            }
            Fault::Crash(_) => self.sim.bounce("etcd"),
            Fault::Wipe(_) | Fault::DeleteAll(_) => self.bootstrap(),
            Fault::Compact
            | Fault::CutStreams
            | Fault::Backup
            | Fault::Restore
            | Fault::Swallow
            | Fault::Garble
            | Fault::LoseAnswers => {}
        }
    }

    fn heal(&mut self) {
        for (_, fault) in std::mem::take(&mut self.ends) {
            self.end(fault);
        }
        self.etcd.faults(|faults| {
            (faults.swallow_revisions, faults.garble_events, faults.lost_answers) = (0, 0, 0);
        });
        self.bootstrap();
    }

    fn stored(&self) -> BTreeMap<String, (Vec<u8>, i64)> {
        self.etcd.look(|store| {
            let ours = store.entries().filter(|kv| kv.key.starts_with(b"/h/"));
            let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
            ours.map(|kv| (text(&kv.key), (kv.value.clone(), kv.mod_revision))).collect()
        })
    }

    /// All views show the store, and the session's key is there.
    fn agrees(&self) -> bool {
        let stored = self.stored();
        let same = |view: &View| {
            let seen = view.entries().into_iter();
            stored.iter().eq(seen
                .map(|(key, e)| (key, (e.value.to_vec(), e.mod_revision.to_etcd())))
                .collect::<BTreeMap<_, _>>()
                .iter())
        };
        stored.contains_key("/h/node/s") && self.views.iter().all(same)
    }
}
