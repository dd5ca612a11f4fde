//! `hunt dev`: servers, operator and agents on this machine, as processes that outlive the command.
//!
//! `place` says where things are, `layout` what runs with which ports and flags (pure), `raise`
//! finds what is needed, `world` starts, watches and ends it (`kafka` the brokers among it, `observe`
//! Prometheus), `pictures` draws its boards, `up`, `demo` and `load` use it. All I/O but `layout` and
//! `game`.

pub mod args;
mod bench;
mod demo;
mod down;
mod game;
mod kafka;
mod kube;
mod layout;
mod load;
mod logs;
mod observe;
mod pictures;
mod place;
mod raise;
mod status;
mod tell;
mod up;
mod world;

use args::DevCommand;

use crate::failure::Failure;
use crate::shown::Out;

/// The logs of what runs on this machine, by process.
pub fn logs() -> Vec<(String, std::path::PathBuf)> {
    logs::all()
}

/// Does what was asked.
pub async fn run(command: DevCommand, out: Out) -> Result<(), Failure> {
    match command {
        DevCommand::Up(args) => up::run(&args, out).await,
        DevCommand::Status => status::run(out).await,
        DevCommand::Demo(args) => demo::run(&args, out).await,
        DevCommand::Pictures(args) => pictures::run(&args, out).await,
        DevCommand::Bench { args } => bench::run(&args),
        DevCommand::Load(args) => load::run(&args, out).await,
        DevCommand::Logs { name, lines } => logs::run(&name, lines),
        DevCommand::Down { wipe } => down::run(wipe, out).await,
    }
}
