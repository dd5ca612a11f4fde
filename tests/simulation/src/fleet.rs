//! Many worlds, one process each, as many at a time as there are cores. In: seeds. Out: lines for
//! people; the first world that went wrong, and how to see it again. I/O.

use std::collections::BTreeMap;
use std::io;
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

/// Decides, with its value, all that is random in a process; see `shim/random.c`.
pub const RANDOM: &str = "TREASUREHUNT_SIMULATION_RANDOM";

/// Seeds to run.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// The first.
    pub from: u64,
    /// How many.
    pub seeds: u64,
    /// What is broken on purpose: then it has to be found.
    pub broken: Option<String>,
    /// Shows what the world's process logs.
    pub shows: bool,
}

/// A world that has ended.
struct World {
    clean: bool,
    said: String,
}

impl Fleet {
    /// Runs them until one is found to be wrong. Success is that none is, or, when something is
    /// broken on purpose, that one is.
    pub fn run(&self) -> ExitCode {
        let began = Instant::now();
        let worlds = match self.worlds() {
            Ok(worlds) => worlds,
            Err(error) => {
                say(&format!("simulate: cannot run a world: {error}"));
                return ExitCode::FAILURE;
            }
        };
        let wrong = worlds.iter().find(|(_, world)| !world.clean);
        let took = began.elapsed().as_secs_f64();
        match (wrong, &self.broken) {
            (None, None) => {
                if let (Some((_, world)), 1) = (worlds.first_key_value(), worlds.len()) {
                    say(&world.said);
                }
                say(&format!("{} worlds, nothing wrong in any, {took:.0} s", worlds.len()));
                ExitCode::SUCCESS
            }
            (None, Some(broken)) => {
                let count = worlds.len();
                say(&format!("{broken} is broken, and none of {count} worlds shows it"));
                ExitCode::FAILURE
            }
            (Some((seed, world)), None) => {
                say(&format!("seed {seed}: {}\nagain: ./dev simulate --seed {seed}", world.said));
                ExitCode::FAILURE
            }
            (Some((seed, world)), Some(broken)) => {
                let said = &world.said;
                say(&format!("{broken} is broken, and seed {seed} shows it: {said}"));
                let count = seed - self.from + 1;
                say(&format!("found in world {count} of at most {}, {took:.0} s", self.seeds));
                ExitCode::SUCCESS
            }
        }
    }

    /// All worlds, or those up to the first that is wrong and what ran beside it.
    fn worlds(&self) -> io::Result<BTreeMap<u64, World>> {
        let (next, stop) = (AtomicU64::new(self.from), AtomicBool::new(false));
        let worlds = Mutex::new(BTreeMap::new());
        let run = || -> io::Result<()> {
            while !stop.load(Ordering::Relaxed) {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= self.from + self.seeds {
                    break;
                }
                let world =
                    self.world(seed).inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
                stop.fetch_or(!world.clean, Ordering::Relaxed);
                if let Ok(mut worlds) = worlds.lock() {
                    worlds.insert(seed, world);
                }
            }
            Ok(())
        };
        let threads = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            let runs: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
            let joined = runs
                .into_iter()
                .map(|run| run.join().map_err(|_| io::Error::other("a thread panicked"))?);
            joined.collect::<io::Result<()>>()
        })?;
        worlds.into_inner().map_err(|_| io::Error::other("a thread panicked"))
    }

    /// A process that ends by itself: simulated time is bounded.
    fn world(&self, seed: u64) -> io::Result<World> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--seed", &seed.to_string()]).env(RANDOM, seed.to_string());
        if let Some(broken) = &self.broken {
            command.args(["--break", broken]);
        }
        if self.shows {
            command.stderr(Stdio::inherit());
        }
        let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output()?;
        let mut said = String::from_utf8_lossy(&stdout).trim_end().to_owned();
        let clean = status.success();
        if said.is_empty() {
            said = format!("{status}\n{}", String::from_utf8_lossy(&stderr).trim_end());
        }
        Ok(World { clean, said })
    }
}

#[expect(clippy::print_stdout, reason = "what people asked for")]
fn say(line: &str) {
    println!("{line}");
}
