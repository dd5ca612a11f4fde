//! `hunt dev logs`: the last lines that a process wrote. I/O.

use super::place::Place;
use super::world;
use crate::failure::Failure;
use crate::shown;

pub(super) fn run(name: &str, lines: usize) -> Result<(), Failure> {
    let place = Place::find()?;
    let all = world::list(&place.state)?;
    let Some(process) = all.iter().find(|process| process.name == name) else {
        let names: Vec<_> = all.iter().map(|process| process.name.as_str()).collect();
        return Err(Failure::bad_input(format!(
            "no process {name}; there are: {}",
            names.join(", ")
        )));
    };
    shown::write(&(world::tail(&process.log, lines) + "\n"))
}

/// The logs of what `hunt dev up` started here, by process; none where it never ran.
pub(super) fn all() -> Vec<(String, std::path::PathBuf)> {
    let processes = Place::find().and_then(|place| world::list(&place.state)).unwrap_or_default();
    processes.into_iter().map(|process| (process.name, process.log)).collect()
}
