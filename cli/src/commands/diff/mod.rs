//! `hunt diff`: what an apply of files would change, before anybody applies them. In: files, and the
//! hunts as they stand. Out: a preview for each; exit code 2 when the operator would refuse one. The
//! preview is pure, reading is I/O.

mod preview;
mod text;

use config_schemas::Revision;
use serde::Serialize;

use super::lint::{self, Found};
use crate::args::DiffArgs;
use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::last_good;
use crate::reach::Etcd;
use crate::shown::{Out, Page, View, count};

pub use preview::{Preview, preview};

/// Previews, one for each hunt of the files.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Previews(Vec<Preview>);

/// `hunt diff`.
pub async fn run(etcd: &Etcd, out: Out, args: &DiffArgs) -> Result<(), Failure> {
    let judged = lint::judge(&lint::read(&args.files));
    if !judged.faults.is_empty() {
        let first = judged
            .faults
            .iter()
            .take(3)
            .map(|fault| format!("{}: {} {}", fault.file, fault.code.code(), fault.sentence()));
        let first = first.collect::<Vec<_>>().join("; ");
        let all = count(judged.faults.len(), "fault");
        return Err(Failure::bad_input(format!("{all}: {first}"))
            .hint("`hunt lint` tells all of them; nothing was compared"));
    }
    let mut previews = Vec::new();
    for found in &judged.hunts {
        previews.push(one(etcd, found).await?);
    }
    let previews = Previews(previews);
    out.show(&previews)?;
    let refused: Vec<_> = previews.0.iter().filter(|it| !it.fixed.is_empty()).collect();
    if let Some(first) = refused.first() {
        let fields: Vec<_> = first.fixed.iter().map(|problem| problem.field.as_str()).collect();
        let message = format!("the operator will refuse {}: {}", first.hunt, fields.join(", "));
        return Err(Failure::bad_input(message).hint("a new hunt of another name can have them"));
    }
    let differs = previews.0.iter().any(|preview| !preview.is_empty());
    match args.exit_code && differs {
        true => Err(Failure::failed("the files differ from what runs")),
        false => Ok(()),
    }
}

async fn one(etcd: &Etcd, found: &Found) -> Result<Preview, Failure> {
    let mut fleet = match etcd.find(&found.name).await? {
        Some(fleet) => fleet,
        None => Fleet::of(&found.name, Revision::FIRST, []),
    };
    last_good::ask(std::slice::from_mut(&mut fleet)).await;
    let config = found.spec.as_ref().map(|spec| spec.config.clone()).unwrap_or_default();
    Ok(preview(&fleet, &config, telemetry::clock::now()))
}

impl View for Previews {
    fn text(&self, page: Page) -> String {
        self.0.iter().map(|preview| preview.text(page)).collect::<Vec<_>>().join("\n")
    }
}
