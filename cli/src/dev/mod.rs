//! `hunt dev`.
pub mod args;
use crate::failure::Failure;
use crate::shown::Out;
/// Runs it.
pub async fn run(_command: args::DevCommand, _out: Out) -> Result<(), Failure> {
    Err(Failure::failed("not built yet"))
}
