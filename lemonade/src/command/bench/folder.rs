//! Where the processes of a bench have their files.

use super::stage::cannot_write;
use crate::command::Failure;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A folder, removed when this is dropped unless the user named it.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    kept: bool,
}

impl Folder {
    pub(super) fn make(wanted: Option<&Path>) -> Result<Self, Failure> {
        let (path, kept) = match wanted {
            Some(path) => (path.to_owned(), true),
            None => {
                let name = format!("lemonade-bench-{}", std::process::id());
                (std::env::temp_dir().join(name), false)
            }
        };
        // One that is there already belongs to somebody else, unless it was named.
        let made = DirBuilder::new().recursive(kept).mode(0o700).create(&path);
        made.map_err(|error| cannot_write(&path, &error))?;
        let path = path
            .canonicalize()
            .map_err(|error| cannot_write(&path, &error))?;
        Ok(Folder { path, kept })
    }

    /// One for the processes of a run.
    pub(super) fn of_run(&self, scenario: &str, strategy: &str) -> Result<PathBuf, Failure> {
        let path = self.path.join(file_name(scenario)).join(strategy);
        let made = std::fs::create_dir_all(&path);
        made.map_err(|error| cannot_write(&path, &error))?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed is the temporary folder's own business.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// A name that cannot lead elsewhere.
pub(super) fn file_name(name: &str) -> String {
    let safe = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    name.chars()
        .map(|c| if safe(c) { c } else { '_' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_goes_unless_the_user_named_it() {
        let named = tempfile::tempdir().unwrap();
        let ours = Folder::make(None).unwrap();
        let theirs = Folder::make(Some(named.path())).unwrap();
        let runs = [&ours, &theirs].map(|folder| folder.of_run("a/b", "random").unwrap());
        assert!(
            runs.iter()
                .all(|run| run.ends_with("a_b/random") && run.is_dir())
        );
        assert!(Folder::make(None).is_err(), "it is in use");
        drop((ours, theirs));
        assert_eq!(runs.map(|run| run.is_dir()), [false, true]);
    }
}
