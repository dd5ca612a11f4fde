//! The commands. Each file: a pure view of what etcd says, and a thin function that reads, shows
//! and, where something is written, writes by one guarded transaction and waits for the fleet.

pub mod change;
pub mod check;
pub mod completion;
pub mod diff;
pub mod drain;
pub mod edit;
pub mod explain;
pub mod history;
pub mod lint;
pub mod load;
pub mod promote;
pub mod report;
pub mod rollback;
pub mod set;
pub mod status;
pub mod together;
pub mod top;

use crate::args::{Cli, Command};
use crate::failure::Failure;
use crate::reach::Etcd;
use crate::shown::Out;

/// Does what was asked.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    let out = Out::new(cli.format);
    if let Command::Dev(command) = cli.command {
        return crate::dev::run(command, out).await;
    }
    if let Command::Load(args) = &cli.command {
        // Agents that are named are loaded without etcd.
        return load::run(|| Etcd::open(cli.etcd.options()), out, args).await;
    }
    if let Command::Lint { files } = &cli.command {
        return lint::run(out, files);
    }
    if let Command::Completion { shell } = cli.command {
        return completion::run(shell);
    }
    let etcd = Etcd::open(cli.etcd.options())?;
    match cli.command {
        Command::Status { hunt, watch: true } => status::watch(&etcd, out, hunt.as_ref()).await,
        Command::Status { hunt: None, .. } => status::all(&etcd, out).await,
        Command::Status { hunt: Some(hunt), .. } => status::one(&etcd, out, &hunt).await,
        Command::Explain { hunt, field, node } => {
            explain::run(&etcd, out, &hunt, field, node.as_ref()).await
        }
        Command::Set(args) => set::set(&etcd, out, &args).await,
        Command::Unset { hunt, field, node, wait } => {
            set::unset(&etcd, out, &hunt, field, node, wait).await
        }
        Command::Edit(args) => edit::run(&etcd, out, &args).await,
        Command::History { hunt } => history::run(&etcd, out, &hunt).await,
        Command::Rollback(args) => rollback::run(&etcd, out, &args).await,
        Command::Check { hunt } => check::run(&etcd, out, &hunt).await,
        Command::Diff(args) => diff::run(&etcd, out, &args).await,
        Command::Promote(args) => promote::run(&etcd, out, &args).await,
        Command::Drain(args) => drain::run(&etcd, out, &args).await,
        Command::Top { hunt, rows } => top::run(&etcd, out, &hunt, rows).await,
        Command::Report(args) => report::run(&etcd, out, &args).await,
        Command::Dev(_) | Command::Load(_) | Command::Lint { .. } | Command::Completion { .. } => {
            Ok(())
        }
    }
}
