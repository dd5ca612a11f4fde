//! Checks and figures that need more than one crate, on the real servers. `world` starts them all,
//! the tests themselves are in `tests/`. `bench` measures what the README promises.

pub mod world;

pub use hunt::load::checker;
pub mod demand;
pub mod disk;
pub mod http;
pub mod load;
pub mod players;
pub mod probes;
pub mod recorder;
pub mod trap;
pub mod wait;
pub mod wrong;

pub mod bench;

/// A line of a test's own output: a measured time, or what was left out.
#[expect(clippy::print_stdout, reason = "cargo shows it beside the test that it belongs to")]
pub fn say(line: &str) {
    println!("{line}");
}
