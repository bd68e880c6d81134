//! What a reload changes, and what it cannot.

use super::Config;
use std::fmt;
use thiserror::Error;

/// The difference between the configuration that runs and one that is to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Names of backends that come.
    pub added: Vec<String>,
    /// Names of backends that go: they get no new request, and those in flight finish.
    pub removed: Vec<String>,
    /// Names of backends whose weight, name or endpoint changed.
    pub changed: Vec<String>,
    /// Other parts that changed.
    pub settings: Vec<&'static str>,
}

/// A part that only a restart can change.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0} cannot be changed while running: restart to change it")]
pub struct Refused(&'static str);

impl Diff {
    /// Compares; refused if a part differs that cannot be changed live.
    pub fn between(from: &Config, to: &Config) -> Result<Self, Refused> {
        let fixed = [
            ("the listen address", from.listen == to.listen),
            ("the admin address", from.admin == to.admin),
            (
                "the number of shards",
                from.runtime.shards == to.runtime.shards,
            ),
            (
                "the access log's file or format",
                from.access_log.file == to.access_log.file
                    && from.access_log.format == to.access_log.format,
            ),
        ];
        if let Some((part, _)) = fixed.iter().find(|(_, same)| !same) {
            return Err(Refused(part));
        }
        let mut diff = Diff::default();
        for backend in &to.backends {
            match from
                .backends
                .iter()
                .find(|present| present.id == backend.id)
            {
                None => diff.added.push(backend.name.clone()),
                Some(present) if present != backend => diff.changed.push(backend.name.clone()),
                Some(_) => {}
            }
        }
        let stays =
            |name: &super::BackendConfig| to.backends.iter().any(|backend| backend.id == name.id);
        diff.removed = from
            .backends
            .iter()
            .filter(|backend| !stays(backend))
            .map(|backend| backend.name.clone())
            .collect();
        let settings = [
            ("strategy", from.strategy == to.strategy),
            ("health", from.health == to.health),
            ("timeouts", from.timeouts == to.timeouts),
            ("limits", from.limits == to.limits),
            ("retries", from.retries == to.retries),
            ("headers", from.headers == to.headers),
            ("access_log", from.access_log == to.access_log),
            ("runtime", from.runtime == to.runtime),
        ];
        diff.settings = settings
            .into_iter()
            .filter(|(_, same)| !same)
            .map(|(part, _)| part)
            .collect();
        Ok(diff)
    }

    /// Nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Diff::default()
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for (what, names) in [
            ("added", &self.added),
            ("removed", &self.removed),
            ("changed", &self.changed),
        ] {
            if !names.is_empty() {
                parts.push(format!("{what} {}", names.join(", ")));
            }
        }
        if !self.settings.is_empty() {
            parts.push(format!("new {}", self.settings.join(", ")));
        }
        f.write_str(if parts.is_empty() { "no change" } else { "" })?;
        f.write_str(&parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::BackendId;
    use crate::config::BackendConfig;
    use crate::strategy::Name;

    fn with(ports: &[u16]) -> Config {
        let backends = ports.iter().map(|port| BackendConfig {
            id: BackendId::new(format!("127.0.0.1:{port}").parse().unwrap()),
            endpoint: ([127, 0, 0, 1], *port).into(),
            name: format!("w{port}"),
            weight: 1,
        });
        Config {
            backends: backends.collect(),
            ..Config::default()
        }
    }

    #[test]
    fn difference_is_told_by_name() {
        let from = with(&[1, 2]);
        let mut to = with(&[2, 3]);
        to.backends[0].weight = 5;
        to.strategy = Name::Random;
        let diff = Diff::between(&from, &to).unwrap();
        assert_eq!(
            diff.to_string(),
            "added w3; removed w1; changed w2; new strategy"
        );
        assert!(Diff::between(&from, &from).unwrap().is_empty());
    }

    #[test]
    fn what_cannot_change_live_is_refused_with_a_sentence() {
        let mut to = with(&[1]);
        to.runtime.shards += 1;
        let refused = Diff::between(&with(&[1]), &to).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the number of shards cannot be changed while running: restart to change it"
        );
    }
}
