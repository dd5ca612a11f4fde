//! How many processor cores this process may use: the narrowest of its control groups' limits
//! (versions 1 and 2) and of the cores that it may run on. In: files of the kernel. Out: a number
//! above 0. Reading is I/O; what the files mean is pure.

use std::fs;
use std::path::{Path, PathBuf};

/// Says which control groups this process is in.
const OWN_GROUPS: &str = "/proc/self/cgroup";
/// Where systems show control groups, inside containers too.
const GROUPS: &str = "/sys/fs/cgroup";
/// A node is never counted for less: its weight is divided by.
const CORES_MIN: f64 = 0.05;

/// The cores that this process may use now; a limit can change while it runs. Blocks for some
/// microseconds: these files are in memory.
pub fn available() -> f64 {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    let groups = fs::read_to_string(OWN_GROUPS).unwrap_or_default();
    cores(allowed, limit(Path::new(GROUPS), &groups))
}

/// `allowed` is what the standard library says: the cores that the process may run on, or the
/// whole part of its limit, at least 1, if that is less.
fn cores(allowed: usize, limit: Option<f64>) -> f64 {
    let allowed = allowed as f64;
    match limit {
        Some(limit) if allowed >= limit.floor().max(1.0) => limit.max(CORES_MIN),
        _ => allowed,
    }
}

/// The narrowest limit of the groups named in `groups` and of all above them, below `root`.
fn limit(root: &Path, groups: &str) -> Option<f64> {
    let limits = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        Some((parts.next()?, parts.next()?))
    });
    let limits = limits.flat_map(|(controllers, group)| {
        let group = Path::new(group.trim_start_matches('/'));
        // Inside a container the group may be named as outside, where its files are not: the
        // group's ancestors end at the root, which then is the container's own.
        group.ancestors().flat_map(|group| one(root, controllers, group)).collect::<Vec<_>>()
    });
    limits.min_by(f64::total_cmp)
}

/// The limit of one group.
fn one(root: &Path, controllers: &str, group: &Path) -> Option<f64> {
    let read = |path: PathBuf| fs::read_to_string(path).ok();
    if controllers.is_empty() {
        return read(root.join(group).join("cpu.max")).as_deref().and_then(v2);
    }
    if !controllers.split(',').any(|controller| controller == "cpu") {
        return None;
    }
    [controllers, "cpu"].into_iter().find_map(|mount| {
        let group = root.join(mount).join(group);
        v1(&read(group.join("cpu.cfs_quota_us"))?, &read(group.join("cpu.cfs_period_us"))?)
    })
}

/// `cpu.max`: microseconds in each period, or `max`, and the period.
fn v2(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace();
    share(words.next()?, words.next().unwrap_or("100000"))
}

/// `cpu.cfs_quota_us`, -1 without limit, and `cpu.cfs_period_us`.
fn v1(quota: &str, period: &str) -> Option<f64> {
    share(quota.trim(), period.trim())
}

fn share(quota: &str, period: &str) -> Option<f64> {
    let quota: f64 = quota.parse::<u64>().ok()? as f64;
    let period = period.parse::<u64>().ok().filter(|period| *period > 0)? as f64;
    (quota > 0.0).then_some(quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], groups: &str, expected: Option<f64>) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(limit(root.path(), groups), expected, "{groups} {files:?}");
    }

    #[test]
    fn version_2_gives_the_narrowest_limit_up_to_the_root() {
        let half = ("a/b/cpu.max", "50000 100000\n");
        check(&[half], "0::/a/b\n", Some(0.5));
        check(&[("a/b/cpu.max", "max 100000\n"), ("a/cpu.max", "150000 100000\n")], "0::/a/b", {
            Some(1.5)
        });
        check(&[half, ("a/cpu.max", "20000 100000")], "0::/a/b", Some(0.2));
        check(&[("cpu.max", "400000 100000")], "0::/", Some(4.0));
        check(&[("cpu.max", "400000 100000")], "0::/outside/name", Some(4.0));
        check(&[], "0::/a/b", None);
        for broken in ["", "max", "x y", "0 100000", "100000 0", "-1 100000"] {
            check(&[("cpu.max", broken)], "0::/", None);
        }
    }

    #[test]
    fn version_1_is_read_where_either_name_mounts_it() {
        let quota = |mount: &str| format!("{mount}/pod/cpu.cfs_quota_us");
        let period = |mount: &str| format!("{mount}/pod/cpu.cfs_period_us");
        for mount in ["cpu", "cpu,cpuacct"] {
            let files = [(&*quota(mount), "250000\n"), (&*period(mount), "100000\n")];
            check(&files, "4:memory:/pod\n2:cpu,cpuacct:/pod\n", Some(2.5));
            check(&files, "2:cpuacct:/pod\n", None);
        }
        let files = [(&*quota("cpu"), "-1\n"), (&*period("cpu"), "100000\n")];
        check(&files, "1:cpu:/pod\n0::/\n", None);
    }

    #[test]
    fn a_limit_counts_in_parts_of_a_core_unless_fewer_cores_are_allowed() {
        let check = |allowed, limit, expected: f64| {
            assert!((cores(allowed, limit) - expected).abs() < 1e-9, "{allowed} {limit:?}");
        };
        check(8, None, 8.0);
        check(1, Some(0.5), 0.5);
        check(2, Some(2.5), 2.5);
        check(1, Some(2.5), 1.0);
        check(1, Some(0.0001), CORES_MIN);
        assert!(available() >= CORES_MIN);
    }
}
