//! The one thread that starts guarded children. The kernel ends a child whose parent-death signal
//! is set when the *thread* that started it ends, so no test's own thread may do it. I/O.

use std::io;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};

/// Orders that may wait: each caller waits for its own answer, so this bounds nothing in practice.
const ORDERS_MAX: usize = 16;

struct Order {
    command: Command,
    answer: SyncSender<io::Result<Child>>,
}

static SPAWNER: OnceLock<Option<SyncSender<Order>>> = OnceLock::new();

/// Starts the command from the thread that lives as long as the process.
pub(crate) fn spawn(mut command: Command) -> io::Result<Child> {
    let Some(spawner) = SPAWNER.get_or_init(start) else {
        return command.spawn();
    };
    let (answer, answered) = sync_channel(1);
    let ended = |_| io::Error::other("the thread that starts children has ended");
    spawner.send(Order { command, answer }).map_err(|_| ended(()))?;
    answered.recv().map_err(|_| ended(()))?
}

fn start() -> Option<SyncSender<Order>> {
    let (orders, received) = sync_channel::<Order>(ORDERS_MAX);
    std::thread::Builder::new()
        .name("spawner".to_owned())
        .spawn(move || {
            for mut order in received {
                let child = order.command.spawn();
                // A caller that has gone away leaves nobody to own the child.
                if let Err(std::sync::mpsc::SendError(Ok(mut orphan))) = order.answer.send(child) {
                    let _ = orphan.kill();
                    let _ = orphan.wait();
                }
            }
        })
        .ok()
        .map(|_| orders)
}
