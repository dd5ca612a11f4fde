//! Bounds that were promised for a machine with nothing else to do, and what they are on one whose
//! cores are shared. In: a bound. Out: the same, or a longer one. Pure but for reading the load.

use std::time::Duration;

/// However loaded the machine, a promise that is broken by this much is broken.
const STRETCH_MAX: f64 = 8.0;

/// The bound, longer by as much as more processes want a core than there are cores.
pub(super) fn promised(bound: Duration) -> Duration {
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    stretched(bound, &load, cores)
}

/// By the text of `/proc/loadavg`, of which the first number is the last minute's.
fn stretched(bound: Duration, load: &str, cores: f64) -> Duration {
    let load: f64 = load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0);
    bound.mul_f64((load / cores).clamp(1.0, STRETCH_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_longer_on_a_loaded_machine_only_and_never_without_an_end() {
        let check = |load: &str, expected: u64| {
            let found = stretched(Duration::from_secs(5), load, 2.0);
            assert_eq!(found, Duration::from_secs(expected), "{load}");
        };
        check("0.50 1.00 9.00 1/200 77", 5);
        check("2.00 1.00 9.00 1/200 77", 5);
        check("6.00 1.00 9.00 1/200 77", 15);
        check("900.00 1.00 9.00 1/200 77", 40);
        check("", 5);
    }
}
