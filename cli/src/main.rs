//! `hunt`. I/O.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    hunt::entry::run().await
}
