//! The files that the source holds, found by path and by the hunt that stands in them: ten thousand
//! files must not be walked for each of ten thousand reports. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use config_schemas::HuntName;

use super::disk::Stamp;
use super::files::{Record, StatusFile};
use crate::source::Target;

/// One file as it was read or written last.
pub(super) struct Known {
    pub(super) stamp: Option<Stamp>,
    pub(super) status: StatusFile,
}

/// All of them.
#[derive(Default)]
pub(super) struct Held {
    files: BTreeMap<PathBuf, Known>,
    places: BTreeMap<HuntName, PathBuf>,
}

impl Held {
    /// Whether the file has changed since it was read.
    pub(super) fn is_news(&self, path: &Path, stamp: Option<&Stamp>) -> bool {
        self.files.get(path).is_none_or(|known| known.stamp.as_ref() != stamp)
    }

    /// All hunts.
    pub(super) fn names(&self) -> BTreeSet<HuntName> {
        self.places.keys().cloned().collect()
    }

    /// Whether the hunt stands in another file than that one.
    pub(super) fn elsewhere(&self, path: &Path, hunt: &HuntName) -> bool {
        self.places.get(hunt).is_some_and(|place| place != path)
    }

    /// Replaces what is held of a file; nothing is held of one without hunts that is gone.
    pub(super) fn put(&mut self, path: PathBuf, known: Known) {
        forget(&mut self.places, &path, self.files.get(&path));
        if known.status.hunts.is_empty() && known.stamp.is_none() {
            self.files.remove(&path);
            return;
        }
        for hunt in known.status.hunts.iter().map(Record::name) {
            self.places.insert(hunt, path.clone());
        }
        self.files.insert(path, known);
    }

    /// The file that the target stands in, taken out to be changed and put back.
    pub(super) fn take(&mut self, target: &Target) -> Option<(PathBuf, Known)> {
        let path = self.places.get(&target.name)?.clone();
        let known = self.files.get(&path)?;
        let stands_in = |r: &Record| r.uid == target.uid && r.name() == target.name;
        if !known.status.hunts.iter().any(stands_in) {
            return None;
        }
        let known = self.files.remove(&path)?;
        forget(&mut self.places, &path, Some(&known));
        Some((path, known))
    }
}

/// Forgets the hunts of that file.
fn forget(places: &mut BTreeMap<HuntName, PathBuf>, path: &Path, known: Option<&Known>) {
    for hunt in known.into_iter().flat_map(|known| &known.status.hunts).map(Record::name) {
        if places.get(&hunt).is_some_and(|place| place == path) {
            places.remove(&hunt);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::source::directory::files::{Origin, join};

    fn name(name: &str) -> HuntName {
        HuntName::new("default", name).unwrap()
    }

    /// A file that names these hunts, each with its own name as its id.
    fn file(hunts: &[&str]) -> Known {
        let one = |hunt: &&str| {
            format!(
                "---\napiVersion: treasurehunt.dev/v1alpha1\nkind: TreasureHunt\nmetadata: \
                 {{name: {hunt}}}\nspec: {{}}\n"
            )
        };
        let origin = |hunt: &&str| (name(hunt), Origin { uid: (*hunt).to_owned(), newest: None });
        let text: String = hunts.iter().map(one).collect();
        let origins: BTreeMap<_, _> = hunts.iter().map(origin).collect();
        let joined = join(Some(&text), &StatusFile::default(), |_| false, &origins);
        Known { stamp: None, status: joined.status }
    }

    #[test]
    fn a_hunt_is_found_where_it_stands_now_and_only_there() {
        let (one, two) = (Path::new("one.yaml"), Path::new("two.yaml"));
        let target = |hunt: &str, uid: &str| Target {
            name: name(hunt),
            uid: uid.to_owned(),
            version: String::new(),
        };
        let mut held = Held::default();
        held.put(one.to_owned(), file(&["a", "b"]));
        held.put(two.to_owned(), file(&["c"]));
        assert!(held.elsewhere(two, &name("a")) && !held.elsewhere(one, &name("a")));
        held.put(one.to_owned(), file(&["b"]));
        assert!(!held.elsewhere(two, &name("a")), "taken out of its file");
        assert!(held.take(&target("b", "another id")).is_none());
        let (path, known) = held.take(&target("b", "b")).unwrap();
        assert_eq!((path.as_path(), held.names()), (one, BTreeSet::from([name("c")])));
        held.put(path, known);
        assert!(held.take(&target("b", "b")).is_some());
    }
}
