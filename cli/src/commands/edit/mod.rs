//! `hunt edit`: the live edits of a hunt in a person's editor, checked as agents check them before
//! anything is written, then written by one compare-and-set. In: the hunt as it stands, and what the
//! editor leaves. Out: what became of it; text that cannot be written stays in its file. `page` and
//! `wanted` are pure, `editor` and `land` are I/O.

mod editor;
mod land;
mod page;
mod wanted;

use config_schemas::edit::Signature;
use jiff::Timestamp;

use super::change;
use super::together::Changes;
use crate::args::EditArgs;
use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::last_good;
use crate::reach::Etcd;
use crate::shown::Out;

use editor::Sheet;
use land::{Landed, land};
pub(super) use page::scalar;

/// Times that a page is opened again: somebody who saves the same mistake so often is a program.
const TRIES_MAX: usize = 10;

/// `hunt edit`.
pub async fn run(etcd: &Etcd, out: Out, args: &EditArgs) -> Result<(), Failure> {
    let mut fleet = etcd.fleet(&args.hunt).await?;
    last_good::ask(std::slice::from_mut(&mut fleet)).await;
    let now = telemetry::clock::now();
    let signature = change::signature(&args.signature, change::whoami(), now);
    let author = signature.owner.clone().unwrap_or_default();
    let sheet = Sheet::new(&page::page(&fleet, &fleet.effects(now), &author))?;
    let changes = match ask(&sheet, &fleet, &signature).await {
        Ok(changes) => changes,
        Err(failure) => return Err(kept(failure, sheet)),
    };
    if changes.is_empty() {
        return out.show(&Landed::unchanged(&fleet.hunt));
    }
    match land(etcd, &fleet, &page::said(&fleet), &changes, args.wait).await {
        Ok(landed) => {
            out.show(&landed)?;
            landed.verdict(args.wait.timeout)
        }
        Err(failure) => Err(kept(failure, sheet)),
    }
}

/// Opens the page until it is right, or until it comes back as wrong as it was.
async fn ask(sheet: &Sheet, fleet: &Fleet, signature: &Signature) -> Result<Changes, Failure> {
    let mut refused: Option<String> = None;
    let mut wrong = Vec::new();
    for _ in 0..TRIES_MAX {
        let text = sheet.edit().await?;
        if refused.as_deref() == Some(without_complaint(&text)) {
            break;
        }
        wrong = match judge(&text, fleet, signature, telemetry::clock::now()) {
            Ok(changes) => return Ok(changes),
            Err(wrong) => wrong,
        };
        let rest = without_complaint(&text).to_owned();
        sheet.write(&(complaint(&wrong) + &rest))?;
        refused = Some(rest);
    }
    Err(Failure::bad_input(wrong.join("; ")))
}

fn judge(
    text: &str,
    fleet: &Fleet,
    signature: &Signature,
    now: Timestamp,
) -> Result<Changes, Vec<String>> {
    let after = page::read(text).map_err(|problem| vec![problem])?;
    wanted::changes(fleet, &page::said(fleet), &after, signature, now)
        .map_err(|wrong| wrong.iter().map(|it| format!("{}: {}", it.at, it.reason)).collect())
}

const COMPLAINT: &str = "#! Not written. Mend it, or save it as it is to give up:\n";

fn complaint(wrong: &[String]) -> String {
    let lines = wrong.iter().map(|line| format!("#! {}\n", line.replace('\n', " ")));
    COMPLAINT.to_owned() + &lines.collect::<String>()
}

/// The page below what was said about it.
fn without_complaint(text: &str) -> &str {
    let mut rest = text;
    while rest.starts_with("#!") {
        rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
    }
    rest
}

/// The failure, with the place where what was typed is kept.
fn kept(failure: Failure, sheet: Sheet) -> Failure {
    let path = sheet.keep();
    let place = format!("what you typed is kept in {}", path.display());
    let hint = failure.hint.as_ref().map(|hint| format!("{hint}; {place}"));
    failure.hint(hint.unwrap_or(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_stands_above_the_page_and_goes_again() {
        let page = "# header\nhunt: {}\n";
        let text = complaint(&["a: no\nno".to_owned()]) + page;
        assert!(text.contains("#! a: no no\n"), "{text}");
        assert_eq!(without_complaint(&text), page);
        assert_eq!(without_complaint("#! only"), "");
    }
}
