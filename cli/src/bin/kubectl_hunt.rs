//! `kubectl hunt`: the same command under the name by which kubectl finds its plugins. I/O.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    hunt::entry::run().await
}
