//! Where a configuration was read from, so that it can be read again.

use super::overlay::Overlay;
use super::overrides::Overrides;
use super::validate::{self, Loaded};
use lemonade_config::{Document, Environment, Faults};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::SystemTime;

/// The file, the environment and the flags that a process was started with.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The file, if there is one.
    pub path: Option<PathBuf>,
    /// The variables that the process was started with.
    pub environment: Environment,
    /// The command line's flags.
    pub overrides: Overrides,
}

/// What tells the file, and that of the changes by hand, from the same ones changed: which file it is, when it was written, how
/// long it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fingerprint([Option<(u64, SystemTime, u64)>; 2]);

impl Inputs {
    /// Reads everything as it is now. Blocks while host names are resolved.
    pub fn load(&self) -> Result<Loaded, Faults> {
        validate::load(self.path.as_deref(), &self.environment, &self.overrides)
    }

    /// What the process would run by if the file were `document`. Blocks as [`Self::load`] does.
    pub fn check(&self, document: &Document) -> Result<Loaded, Faults> {
        validate::check(document, &self.environment, &self.overrides)
    }

    /// The files as they are now, to tell later whether they were changed. Take it before they are read.
    pub fn fingerprint(&self) -> Fingerprint {
        let of = |path: &PathBuf| {
            let file = std::fs::metadata(path).ok()?;
            Some((file.ino(), file.modified().ok()?, file.len()))
        };
        let overlay = self.overlay_path();
        Fingerprint([&self.path, &overlay].map(|path| of(path.as_ref()?)))
    }

    /// Where changes by hand are kept; nowhere without a file to keep them beside.
    pub fn overlay_path(&self) -> Option<PathBuf> {
        self.path.as_deref().map(Overlay::path)
    }

    /// The changes by hand that were kept.
    pub fn overlay(&self) -> Result<Overlay, Faults> {
        match self.overlay_path() {
            Some(path) => Overlay::load(&path),
            None => Ok(Overlay::default()),
        }
    }
}
