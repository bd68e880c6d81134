//! What is wrong in a file, and where: the one error type of this crate.
//!
//! The loader makes faults while it reads and decodes; whoever turns raw tables into a running configuration adds its
//! own through [`Document::fault`](crate::Document::fault), so that a user sees one list in one form.
//! Promise: a printed fault can be clicked in an editor (`file:line:column`) and says what would have been right.

use std::fmt;

/// A place in a file. Both count from 1; columns are characters, so a tab or an emoji is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Position {
    pub(crate) const START: Position = Position { line: 1, column: 1 };
}

/// One thing to mend. Prints as `file:line:column: path: problem (help)`, without the parts it has not got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file as the user named it, or what stands in for one (`environment`).
    pub file: String,
    /// None when the fault is the file as a whole, such as a missing one.
    pub position: Option<Position>,
    /// The key's path, `backends[1].weight`; empty at the root.
    pub path: String,
    /// What is wrong: lower case, no full stop.
    pub problem: String,
    /// What to do about it: `did you mean …`.
    pub help: Option<String>,
}

impl Fault {
    /// A fault of the file as a whole.
    pub fn new(file: impl Into<String>, problem: impl Into<String>) -> Fault {
        Fault {
            file: file.into(),
            position: None,
            path: String::new(),
            problem: problem.into(),
            help: None,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Fault {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn at(mut self, position: Option<Position>, path: impl Into<String>) -> Fault {
        self.position = position;
        self.path = path.into();
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(Position { line, column }) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.problem)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

/// Every fault found, in the order of the file. Never empty.
///
/// Prints one fault a line; when there is more than one, a line before them says how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Sorts by file and position, and drops repetitions; `Ok` when there is nothing to report.
    pub fn check(mut faults: Vec<Fault>) -> Result<(), Faults> {
        if faults.is_empty() {
            return Ok(());
        }
        faults.sort_by(|a, b| (&a.file, a.position, &a.path).cmp(&(&b.file, b.position, &b.path)));
        faults.dedup();
        Err(Faults(faults))
    }

    /// In the order they print.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Faults {
        Faults(vec![fault])
    }
}

impl IntoIterator for Faults {
    type Item = Fault;
    type IntoIter = std::vec::IntoIter<Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = std::slice::Iter<'a, Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.0.iter();
        if self.0.len() > 1 {
            write!(f, "{} faults", self.0.len())?;
        } else if let Some(only) = lines.next() {
            write!(f, "{only}")?;
        }
        lines.try_for_each(|fault| write!(f, "\n{fault}"))
    }
}

impl std::error::Error for Faults {}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(line: usize, path: &str) -> Fault {
        Fault::new("lb.yaml", "unknown key").at(Some(Position { line, column: 3 }), path)
    }

    #[test]
    fn fault_prints_every_part_it_has() {
        let fault = fault(4, "wieght").help("did you mean `weight`?");
        assert_eq!(
            fault.to_string(),
            "lb.yaml:4:3: wieght: unknown key (did you mean `weight`?)"
        );
        assert_eq!(
            Fault::new("lb.yaml", "no such file").to_string(),
            "lb.yaml: no such file"
        );
    }

    #[test]
    fn faults_print_in_file_order_after_their_count() {
        let faults = Faults::check(vec![fault(9, "b"), fault(2, "a")]).unwrap_err();
        assert_eq!(
            faults.to_string(),
            "2 faults\nlb.yaml:2:3: a: unknown key\nlb.yaml:9:3: b: unknown key"
        );
    }

    #[test]
    fn single_fault_prints_without_a_count() {
        assert_eq!(
            Faults::from(fault(2, "a")).to_string(),
            "lb.yaml:2:3: a: unknown key"
        );
    }

    #[test]
    fn nothing_to_report_is_ok() {
        assert_eq!(Faults::check(Vec::new()), Ok(()));
    }
}
