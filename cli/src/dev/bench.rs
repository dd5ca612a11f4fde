//! `hunt dev bench`: hands over to the bench program of the tests. I/O.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::place::Place;
use crate::failure::Failure;

pub(super) fn run(args: &[OsString]) -> Result<(), Failure> {
    let place = Place::find()?;
    let bench = place.programs.join("bench");
    if !bench.is_file() {
        return Err(Failure::failed("the bench program is not built")
            .hint("cargo build --release -p tests --bin bench, then run this again"));
    }
    // Only returns when it could not be started.
    let error = Command::new(&bench).args(args).exec();
    Err(Failure::caused("running the bench program", &error))
}
