//! Free TCP ports on loopback. Comes in: nothing. Goes out: a port that no other caller on this
//! machine was given while this process lives. I/O: binds sockets, takes file locks.

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::BuildHasher;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Mutex;

/// Where ports are taken from when the system's ephemeral range leaves room below it.
const LOWEST_PORT: u16 = 10_000;
/// Attempts before the system's own choice is taken: the range is thousands wide, so that many
/// misses mean it is full.
const ATTEMPTS_MAX: usize = 200;

/// The ports given out so far, each with the lock that tells other processes.
static CLAIMED: Mutex<Vec<(u16, Option<File>)>> = Mutex::new(Vec::new());

/// A port on 127.0.0.1 that is free now and that no other caller gets while this process lives.
///
/// It lies below the system's ephemeral range: a server that is down for a moment would otherwise
/// lose its port to some client's outgoing connection, or to a client that connects to itself.
///
/// # Errors
/// When no socket can be bound at all.
pub fn free_port() -> io::Result<u16> {
    let random = RandomState::new();
    let width = ephemeral_low().saturating_sub(LOWEST_PORT);
    for attempt in 0..ATTEMPTS_MAX {
        if width == 0 {
            break;
        }
        let offset = random.hash_one(attempt) % u64::from(width);
        let port = LOWEST_PORT.saturating_add(u16::try_from(offset).unwrap_or_default());
        if claim(port) {
            return Ok(port);
        }
    }
    loop {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        if claim(port) {
            return Ok(port);
        }
    }
}

/// Takes the port if nobody listens on it and nobody else was given it.
fn claim(port: u16) -> bool {
    let mut claimed = CLAIMED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if claimed.iter().any(|(taken, _)| *taken == port) {
        return false;
    }
    let lock = open_lock(port);
    if lock.as_ref().is_some_and(|file| file.try_lock().is_err()) {
        return false;
    }
    if TcpListener::bind(("127.0.0.1", port)).is_err() {
        return false;
    }
    claimed.push((port, lock));
    true
}

/// The file whose lock tells other test processes that the port is taken; without a writable
/// folder the bind alone decides.
fn open_lock(port: u16) -> Option<File> {
    let folder: PathBuf = std::env::temp_dir().join("treasurehunt-ports");
    std::fs::create_dir_all(&folder).ok()?;
    File::options().create(true).append(true).open(folder.join(port.to_string())).ok()
}

/// Where the system's own choice of ports begins.
fn ephemeral_low() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(LOWEST_PORT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_port_is_given_out_once_and_can_be_bound() {
        let ports: Vec<u16> = (0..50).map(|_| free_port().unwrap()).collect();
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), ports.len());
        for port in ports {
            TcpListener::bind(("127.0.0.1", port)).unwrap();
        }
    }

    #[test]
    fn a_port_that_is_claimed_or_in_use_is_not_claimed_again() {
        let port = free_port().unwrap();
        assert!(!claim(port));
        let busy = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        assert!(!claim(busy.local_addr().unwrap().port()));
    }
}
