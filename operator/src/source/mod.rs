//! Where TreasureHunts come from and where their status goes: the Kubernetes API, or a directory
//! of YAML files. Both speak the same few words with the controller. I/O.

pub mod directory;
pub mod kubernetes;

use std::collections::BTreeSet;

use config_schemas::HuntName;

use crate::plan::Note;
use crate::state::Observed;

/// Events that may wait for the controller; a source waits when it is slower.
pub const EVENTS_WAITING_MAX: usize = 1024;

/// What a source tells the controller.
#[derive(Debug)]
pub enum SourceEvent {
    /// A resource as it stands now.
    Seen(Box<Observed>),
    /// The source says that this very resource is gone for good.
    Deleted {
        /// Which hunt.
        name: HuntName,
        /// Which resource of that name.
        uid: String,
    },
    /// All resources that there are. Absence is not deletion: a broken source may list nothing.
    Listed(BTreeSet<HuntName>),
}

/// The resource that is written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Which hunt.
    pub name: HuntName,
    /// Which resource of that name.
    pub uid: String,
    /// The version that was seen.
    pub version: String,
}

impl Target {
    /// The resource as observed.
    pub fn of(observed: &Observed) -> Target {
        Target {
            name: observed.name.clone(),
            uid: observed.uid.clone(),
            version: observed.version.clone(),
        }
    }
}

/// Something to write to a resource.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// Its status, as our own JSON.
    Status(Box<str>),
    /// That it waits for us when it is deleted.
    Hold,
    /// That it need not wait any longer.
    Release,
}

impl Report {
    /// As in metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Report::Status(_) => "status",
            Report::Hold => "hold",
            Report::Release => "release",
        }
    }
}

/// What became of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reported {
    /// Written; the resource has this version now.
    Written(String),
    /// The resource is gone or is another one by now: nothing to do.
    Gone,
    /// Somebody else was first: look again.
    Overtaken,
    /// The source could not be reached or did not take it.
    Failed(String),
}

/// Where reports go.
#[derive(Clone)]
pub enum Outlet {
    /// To the Kubernetes API.
    Kubernetes(kubernetes::Outlet),
    /// To files.
    Directory(directory::Outlet),
}

impl Outlet {
    /// Writes one report.
    pub async fn report(&self, target: &Target, report: Report) -> Reported {
        match self {
            Outlet::Kubernetes(outlet) => outlet.report(target, report).await,
            Outlet::Directory(outlet) => outlet.report(target, report).await,
        }
    }

    /// Tells people; never waits, and drops what comes too fast.
    pub fn tell(&self, target: &Target, note: &Note) {
        match self {
            Outlet::Kubernetes(outlet) => outlet.tell(target, note),
            Outlet::Directory(outlet) => outlet.tell(target, note),
        }
    }
}
