//! Which file keeps a hunt, by tables of what files say and have a record of. Pure.

use super::*;
use crate::source::directory::files::{Origin, join};

fn name(name: &str) -> HuntName {
    HuntName::new("default", name).unwrap()
}

fn status(hunts: &[&str]) -> StatusFile {
    let origin = |hunt: &&str| (name(hunt), Origin { uid: (*hunt).to_owned(), newest: None });
    let rulings = Rulings { origins: hunts.iter().map(origin).collect(), ..Rulings::default() };
    join(&said(Some(hunts)), &StatusFile::default(), &rulings).status
}

/// What a file says that names these hunts; an empty one names none, and `None` is gone.
fn said(hunts: Option<&[&str]>) -> Said {
    let one = |hunt: &&str| {
        format!(
            "---\napiVersion: treasurehunt.dev/v1alpha1\nkind: TreasureHunt\nmetadata: \
             {{name: {hunt}}}\nspec: {{}}\n"
        )
    };
    let text = hunts.map(|hunts| hunts.iter().map(one).collect::<String>());
    Said::of(text.as_deref())
}

fn known(named: Option<&[&str]>, recorded: &[&str]) -> Known {
    Known { stamp: None, said: said(named), status: status(recorded) }
}

/// Carries the rulings out for each file, as a look does; what is told of `a` by which file.
fn land(held: &mut Held, now: Instant) -> Vec<(PathBuf, bool)> {
    let (affected, _) = held.settle(now);
    let mut told = Vec::new();
    for path in affected {
        let origin = Origin { uid: "new".to_owned(), newest: None };
        let rulings =
            Rulings { origins: BTreeMap::from([(name("a"), origin)]), ..held.rulings(&path) };
        let file = held.file(&path).unwrap();
        let joined = join(&file.said, &file.status, &rulings);
        told.extend(joined.observed.iter().map(|o| (path.clone(), o.deleting)));
        held.wrote(&path, None, joined.status);
    }
    told
}

#[test]
fn who_has_the_record_keeps_the_hunt_and_only_long_absence_moves_or_deletes_it() {
    type File<'a> = (&'a str, Option<&'a [&'a str]>, &'a [&'a str]);
    let check = |what: &str, files: &[File<'_>], soon: (&str, bool), settled: (&str, bool)| {
        let (mut held, start) = (Held::default(), Instant::now());
        for (path, named, recorded) in files {
            held.learn(Path::new(path), known(*named, recorded));
        }
        let expect = |(path, deleting): (&str, bool)| (PathBuf::from(path), deleting);
        assert_eq!(land(&mut held, start), [expect(soon)], "{what}: at once");
        let early = start + SETTLE - Duration::from_millis(1);
        assert_eq!(land(&mut held, early), [], "{what}: a moment before");
        let later = land(&mut held, start + SETTLE);
        let expected = if soon == settled { vec![] } else { vec![expect(settled)] };
        assert_eq!(later, expected, "{what}: settled");
    };
    let (a, none): (&[&str], &[&str]) = (&["a"], &[]);
    let z = ("z", false);
    check("a copy without a record", &[("b", Some(a), none), ("z", Some(a), a)], z, z);
    check(
        "both have a record",
        &[("b", Some(a), a), ("z", Some(a), a)],
        ("b", false),
        ("b", false),
    );
    check(
        "neither has a record",
        &[("b", Some(a), none), ("z", Some(a), none)],
        ("b", false),
        ("b", false),
    );
    check("a renamed file", &[("b", Some(a), none), ("z", None, a)], z, ("b", false));
    check(
        "renamed with its status",
        &[("b", Some(a), a), ("z", None, a)],
        ("b", false),
        ("b", false),
    );
    check("its document moved", &[("b", Some(a), none), ("z", Some(&["c"]), a)], z, ("b", false));
    check("an emptied file", &[("z", Some(none), a)], z, z);
    check("an emptied file and a copy", &[("b", Some(a), none), ("z", Some(none), a)], z, z);
    check("a file that is gone", &[("z", None, a)], z, ("z", true));
}

#[test]
fn a_hunt_that_is_back_in_time_was_never_away() {
    let (mut held, start) = (Held::default(), Instant::now());
    let path = Path::new("z");
    held.learn(path, known(Some(&["a"]), &["a"]));
    land(&mut held, start);
    for round in 0..10 {
        let at = start + SETTLE * round * 2;
        held.learn(path, known(None, &["a"]));
        assert_eq!(land(&mut held, at), [(path.to_owned(), false)], "gone");
        held.learn(path, known(Some(&["a"]), &["a"]));
        let back = at + SETTLE - Duration::from_millis(1);
        assert_eq!(land(&mut held, back), [(path.to_owned(), false)], "back");
    }
}

#[test]
fn a_released_hunt_that_is_named_again_is_made_anew() {
    let (mut held, start) = (Held::default(), Instant::now());
    let path = Path::new("z");
    held.learn(path, known(Some(&["a"]), &["a"]));
    land(&mut held, start);
    let target =
        |uid: &str| Target { name: name("a"), uid: uid.to_owned(), version: String::new() };
    assert!(held.place(&target("another id")).is_none());
    assert_eq!(held.place(&target("a")).unwrap().0, path);
    held.wrote(path, None, StatusFile::default());
    assert!(held.place(&target("a")).is_none() && held.names().is_empty());
    held.learn(path, known(Some(&["a"]), &[]));
    assert_eq!(land(&mut held, start), [(path.to_owned(), false)]);
    assert!(held.place(&target("new")).is_some());
}
