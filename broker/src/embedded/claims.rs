//! Who claimed a partition: one file per epoch in the folder `EPOCH`, the highest counts. Claims
//! are only ever added, so the newest epoch never goes back. I/O, blocking.
//!
//! One file that is checked and then replaced would not do: an owner that is frozen between its
//! check and its rename would, once thawed, overwrite a newer claim with its older one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config_schemas::Epoch;

use crate::claim::Claim;
use crate::embedded::files::{Files, create_dir, remove_if_there};
use crate::error::Error;

/// The claims of one partition.
#[derive(Clone)]
pub(crate) struct Claims {
    dir: PathBuf,
    files: Arc<dyn Files>,
}

impl Claims {
    pub(crate) fn of(partition_dir: &Path, files: Arc<dyn Files>) -> Claims {
        Claims { dir: partition_dir.join("EPOCH"), files }
    }

    /// The newest claimed epoch; none before the first claim.
    pub(crate) fn newest(&self) -> Result<Option<Epoch>, Error> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            entries => entries.map_err(Error::io("list", &self.dir))?,
        };
        let mut newest = None;
        for entry in entries {
            let name = entry.map_err(Error::io("list", &self.dir))?.file_name();
            newest = newest.max(name.to_str().and_then(|name| name.parse().ok()).map(Epoch));
        }
        Ok(newest)
    }

    /// `Ok` while no newer epoch than `mine` is claimed.
    pub(crate) fn still_newest(&self, mine: Epoch) -> Result<(), Error> {
        #[cfg(feature = "sim")]
        if !self.files.is_fenced() {
            return Ok(());
        }
        match self.newest()? {
            Some(by) if by > mine => Err(Error::Fenced { by }),
            _ => Ok(()),
        }
    }

    /// Claims the epoch, durably only after [`sync`](Self::sync). Refused if it, or a newer one,
    /// is claimed by another.
    pub(crate) fn stake(&self, claim: &Claim) -> Result<(), Error> {
        create_dir(&*self.files, &self.dir).map_err(Error::io("create", &self.dir))?;
        if let Some(newest) = self.newest()?
            && newest > claim.epoch
        {
            return Err(self.superseded(newest));
        }
        let (file, text) = (self.file(claim.epoch), text(claim));
        let draft = self.draft(claim);
        // its text only tells people: nobody claims an epoch of an incarnation before a crash
        self.write(&draft, text.as_bytes()).map_err(Error::io("write", &draft))?;
        // unlike rename, link never replaces: of two with the same epoch, one wins
        let linked = fs::hard_link(&draft, &file);
        fs::remove_file(&draft).map_err(Error::io("remove", &draft))?;
        match linked {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let found = fs::read_to_string(&file).map_err(Error::io("read", &file))?;
                if found != text {
                    return Err(self.superseded(claim.epoch));
                }
            }
            Err(error) => return Err(Error::io("link", &file)(error)),
        }
        match self.newest()? {
            Some(newest) if newest > claim.epoch => Err(self.superseded(newest)),
            _ => Ok(()),
        }
    }

    /// Returns when every claim that can be seen is durable.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.files.sync_dir(&self.dir).map_err(Error::io("sync", &self.dir))
    }

    /// Forgets claims older than `mine`. Safe: the newest is never among them.
    pub(crate) fn forget_older(&self, mine: Epoch) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let epoch = entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok());
            if epoch.is_some_and(|epoch| epoch < mine.0) {
                remove_if_there(&entry.path())?;
            }
        }
        Ok(())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = File::create(path)?;
        self.files.write_at(&file, bytes, 0)
    }

    fn file(&self, epoch: Epoch) -> PathBuf {
        self.dir.join(format!("{:020}", epoch.0))
    }

    /// A name of its own per run and process: two that claim at once must not share a draft.
    fn draft(&self, claim: &Claim) -> PathBuf {
        let run = crc32c::crc32c(claim.incarnation.as_bytes());
        self.dir.join(format!("{}.{run:08x}.{}.tmp", claim.epoch, std::process::id()))
    }

    /// The error that names who holds an epoch.
    pub(crate) fn superseded(&self, holds: Epoch) -> Error {
        let text = fs::read_to_string(self.file(holds)).unwrap_or_default();
        let owner = text.lines().next().unwrap_or("somebody").to_owned();
        Error::Superseded { holds, owner }
    }
}

fn text(claim: &Claim) -> String {
    format!("{}\n{}\n", claim.owner, claim.incarnation)
}
