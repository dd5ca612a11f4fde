//! Two candidates and a fence: whoever leads appends its term to one key, guarded by its
//! leadership. Terms in that key must never fall, whatever happens to the leaders, and after the
//! faults somebody must lead again.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use store::sim::SimEtcd;
use store::{Candidacy, Guard, Leadership, Store, Txn, campaign};

use crate::follower;

const CANDIDATES: usize = 2;
const TROUBLE: Duration = Duration::from_secs(25);
const HEALS_WITHIN: Duration = Duration::from_secs(40);

/// How long a leader that has lost sleeps before it writes once more, as a paused process would
/// that does not know it yet: long enough for a successor to have written.
const PAUSE: Duration = Duration::from_secs(6);

/// Stands, leads, writes, loses, sleeps, writes in vain, stands again, for ever.
async fn candidate(seed: u64, name: &'static str) -> turmoil::Result {
    let store = follower::connect(seed)?;
    loop {
        let ttl = Duration::from_secs(3);
        let candidacy = Candidacy { key: "/h/leader".into(), identity: name.into(), ttl };
        let leadership = campaign(&store, candidacy).await?;
        let mut lost = leadership.lost();
        let leading = async {
            loop {
                append(&store, &leadership).await;
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
        };
        tokio::select! { () = leading => {}, _ = lost.wait_for(|lost| *lost) => {} }
        tokio::time::sleep(PAUSE).await;
        append(&store, &leadership).await;
    }
}

async fn append(store: &Store, leadership: &Leadership) {
    let term = leadership.create_revision().to_string();
    // Not guarded by what stands there: only the fence keeps an old leader out.
    let fenced = Txn {
        guards: vec![Guard::Exists("/h/meta".into()), leadership.guard()],
        writes: vec![store::Write::put("/h/term", term)],
    };
    let _ = store.commit(&fenced).await;
}

pub(crate) fn simulate(seed: u64) -> Result<(), String> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .tick_duration(Duration::from_millis(20))
        .max_message_latency(Duration::from_millis(40))
        .simulation_duration(TROUBLE + HEALS_WITHIN + Duration::from_secs(5))
        .tcp_capacity(4096)
        .build();
    let etcd = SimEtcd::new();
    let served = etcd.clone();
    sim.host("etcd", move || {
        let etcd = served.clone();
        async move { Ok(etcd.serve_turmoil(2379).await?) }
    });
    sim.client("client0", candidate(seed, "zero"));
    sim.client("client1", candidate(seed + 1_000_000, "one"));
    etcd.change(|store| store.write("/h/meta", "epoch"));

    let read = |key: &'static [u8]| {
        etcd.look(|store| {
            let kv = store.entries().find(|kv| kv.key == key)?;
            Some((String::from_utf8_lossy(&kv.value).into_owned(), kv.mod_revision))
        })
    };
    let (mut newest, mut healed_at, mut repair) = (0u64, None, None);
    while sim.elapsed() < TROUBLE + HEALS_WITHIN {
        sim.step().map_err(|e| e.to_string())?;
        if let Some((term, written)) = read(b"/h/term") {
            let term: u64 = term.parse().map_err(|_| "a term that is no number")?;
            if term < newest {
                return Err(format!("the leader of {term} wrote after the one of {newest}"));
            }
            newest = term;
            if healed_at.is_some_and(|healed| written > healed) {
                return Ok(());
            }
        }
        if sim.elapsed() >= TROUBLE && healed_at.is_none() {
            (0..CANDIDATES).for_each(|n| sim.repair(format!("client{n}"), "etcd"));
            etcd.faults(|faults| (faults.leader, faults.frozen) = (true, false));
            healed_at = Some(etcd.look(|store| store.revision()));
        }
        if sim.elapsed() < TROUBLE && rng.random_bool(0.01) {
            let victim = format!("client{}", rng.random_range(0..CANDIDATES));
            match rng.random_range(0..5) {
                0 => etcd.cut_streams(),
                1 => sim.hold(victim, "etcd"),
                2 => sim.partition(victim, "etcd"),
                3 => etcd.faults(|faults| faults.frozen = true),
                _ => etcd.faults(|faults| faults.leader = false),
            }
            repair = Some(sim.elapsed() + Duration::from_millis(rng.random_range(50..8_000)));
        }
        if repair.is_some_and(|at| at <= sim.elapsed()) {
            for n in 0..CANDIDATES {
                sim.repair(format!("client{n}"), "etcd");
                sim.release(format!("client{n}"), "etcd");
            }
            etcd.faults(|faults| (faults.leader, faults.frozen) = (true, false));
            repair = None;
        }
    }
    Err("nobody leads after the faults".into())
}
