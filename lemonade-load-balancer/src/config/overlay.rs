//! What operators changed by hand while the balancer runs, over what the file and the other sources say.
//!
//! A change holds until the source says something *else* than it did when the change was made: who edits a weight in the file
//! has the last word, who edits anything else has not touched the weight set by hand. Kept changes (`--persist`) live in a
//! file beside the configuration, which is never rewritten itself.

use super::Source;
use super::discovery::Discovery;
use crate::backend::BackendId;
use crate::config::{BackendConfig, Config, Tier};
use crate::strategy;
use lemonade_config::{Address, Document, Environment, Fault, Faults};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A value in place of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instead<T> {
    /// What holds.
    pub to: T,
    /// What the source said when the change was made.
    pub instead_of: T,
}

impl<T: PartialEq + Clone> Instead<T> {
    /// What holds, given what the source says now.
    fn over(&self, said: T) -> T {
        match said == self.instead_of {
            true => self.to.clone(),
            false => said,
        }
    }
}

/// A backend that no source names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// What it is called.
    pub name: String,
    /// Its weight.
    pub weight: u32,
    /// Where connections go.
    pub endpoint: SocketAddr,
}

/// What was changed about one backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Amendment {
    /// It was added by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub added: Option<Added>,
    /// It is not used, whoever names it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// It gets no new request.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub drained: bool,
    /// It has another weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<Instead<u32>>,
}

/// Everything that was changed by hand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overlay {
    /// Another strategy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Instead<strategy::Name>>,
    /// By address.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub backends: BTreeMap<String, Amendment>,
}

impl Overlay {
    /// What was amended about this backend, if anything was.
    pub fn of(&self, id: &BackendId) -> Option<&Amendment> {
        self.backends.get(&id.to_string())
    }

    /// The amendment of this backend, to be changed; one that says nothing counts as none.
    pub fn amend(&mut self, id: &BackendId) -> &mut Amendment {
        self.backends.entry(id.to_string()).or_default()
    }

    /// The strategy that holds over the one that the file names.
    pub fn strategy(&self, said: strategy::Name) -> strategy::Name {
        self.strategy
            .as_ref()
            .map_or(said, |strategy| strategy.over(said))
    }

    /// The backends that hold over those that the sources name. Where two sources name one address, the first has its say;
    /// where two have one name, the later one is called by its address. What would be the balancer itself, at `own`, is none.
    pub fn backends(
        &self,
        said: impl IntoIterator<Item = BackendConfig>,
        own: SocketAddr,
    ) -> Vec<BackendConfig> {
        let mut seen = HashSet::new();
        let mut named = HashSet::new();
        let mut holding = Vec::new();
        for mut backend in said.into_iter().chain(self.added()) {
            if backend.endpoint == own || !seen.insert(backend.id.clone()) {
                continue;
            }
            if let Some(amendment) = self.of(&backend.id) {
                if amendment.removed {
                    continue;
                }
                backend.drained = amendment.drained;
                if let Some(weight) = &amendment.weight {
                    backend.weight = weight.over(backend.weight);
                }
            }
            if !named.insert(backend.name.clone()) {
                backend.name = backend.id.to_string();
                named.insert(backend.name.clone());
            }
            holding.push(backend);
        }
        holding
    }

    fn added(&self) -> impl Iterator<Item = BackendConfig> {
        self.backends.iter().filter_map(|(address, amendment)| {
            let added = amendment.added.as_ref()?;
            // Checked when it was read or made.
            let address: Address = address.parse().ok()?;
            Some(BackendConfig {
                id: BackendId::new(address),
                endpoint: added.endpoint,
                name: added.name.clone(),
                weight: added.weight,
                tier: Tier::default(),
                max_in_flight: None,
                source: Source::Api,
                drained: false,
            })
        })
    }

    /// Drops what has become meaningless: amendments of backends that no source names, and values that a source has changed
    /// since. `complete` says whether all of a backend's sources have spoken; until then its amendments are kept.
    pub fn prune(&mut self, said: &[BackendConfig], config: &Config, complete: bool) {
        if self.strategy(config.strategy) == config.strategy {
            self.strategy = None;
        }
        let by_address: HashMap<String, &BackendConfig> = said
            .iter()
            .map(|backend| (backend.id.to_string(), backend))
            .collect();
        for (address, amendment) in &mut self.backends {
            let Some(said) = by_address.get(address) else {
                continue;
            };
            amendment.added = None;
            if let Some(weight) = &amendment.weight
                && weight.instead_of != said.weight
            {
                amendment.weight = None;
            }
        }
        self.backends.retain(|address, amendment| {
            let named = amendment.added.is_some() || by_address.contains_key(address);
            *amendment != Amendment::default() && (named || !complete)
        });
    }

    /// Drops amendments that say nothing.
    pub fn forget_empty(&mut self) {
        self.backends
            .retain(|_, amendment| *amendment != Amendment::default());
    }

    /// Nothing was changed by hand.
    pub fn is_empty(&self) -> bool {
        *self == Overlay::default()
    }

    /// The file beside the configuration that kept changes live in: `load-balancer.yaml` has `load-balancer.overlay.json`.
    pub fn path(config: &Path) -> PathBuf {
        config.with_extension("overlay.json")
    }

    /// Reads the kept changes; none if there is no such file.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        // One that cannot be looked at is a fault, which reading it will tell.
        if let Ok(false) = path.try_exists() {
            return Ok(Overlay::default());
        }
        Overlay::read(&Document::load(path, &Environment::default())?)
    }

    /// The changes that a document says were kept.
    pub fn read(document: &Document) -> Result<Self, Faults> {
        let (overlay, mut faults) = document.decode::<Overlay>();
        let overlay = overlay.unwrap_or_default();
        for (address, amendment) in &overlay.backends {
            match address.parse::<Address>() {
                Ok(parsed) if parsed.to_string() == *address => {}
                Ok(parsed) => {
                    let problem = format!("`{address}`: write `{parsed}`");
                    faults.push(document.fault("backends", problem));
                }
                Err(error) => {
                    faults.push(document.fault("backends", format!("`{address}`: {error}")));
                }
            }
            let weights = [
                amendment.added.as_ref().map(|added| added.weight),
                amendment.weight.as_ref().map(|weight| weight.to),
            ];
            if weights
                .iter()
                .flatten()
                .any(|weight| !super::WEIGHTS.contains(weight))
            {
                faults.push(Fault::new(
                    document.name(),
                    format!("`{address}`: expected a weight of 1 to 65535"),
                ));
            }
        }
        Faults::check(faults)?;
        Ok(overlay)
    }

    /// Writes the kept changes, or nothing at all: a full disk or a crash leaves the old file.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let new = path.with_extension("json.new");
        let written = || {
            let mut file = std::fs::File::create(&new)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            std::fs::rename(&new, path)?;
            std::fs::File::open(folder)?.sync_all()
        };
        written().inspect_err(|_| {
            let _ = std::fs::remove_file(&new);
        })
    }
}

impl Discovery {
    /// Whether every source that it names is in `spoken`.
    pub fn all_in(&self, spoken: impl Fn(&Source) -> bool) -> bool {
        self.sources().all(|source| spoken(&source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn backend(port: u16, weight: u32, source: Source) -> BackendConfig {
        BackendConfig {
            id: BackendId::new(format!("127.0.0.1:{port}").parse().unwrap()),
            endpoint: ([127, 0, 0, 1], port).into(),
            name: format!("w{port}"),
            weight,
            tier: Tier::default(),
            max_in_flight: None,
            source,
            drained: false,
        }
    }

    fn own() -> SocketAddr {
        ([127, 0, 0, 1], 1).into()
    }

    #[test]
    fn first_source_has_its_say_and_nobody_is_there_twice() {
        let mut namesake = backend(4, 1, Source::Sql);
        namesake.name = "w2".to_owned();
        let said = [
            backend(1, 1, Source::File),
            backend(2, 5, Source::File),
            backend(2, 9, Source::Sql),
            namesake,
        ];
        let holding = Overlay::default().backends(said, own());
        let told: Vec<(&str, u32)> = holding
            .iter()
            .map(|backend| (backend.name.as_str(), backend.weight))
            .collect();
        assert_eq!(told, [("w2", 5), ("127.0.0.1:4", 1)], "and never ourselves");
    }

    #[test]
    fn kept_changes_are_checked_when_they_are_read() {
        let read = |text: &str| {
            let parsed = Document::parse(
                "o.json",
                lemonade_config::Format::Json,
                text,
                &Environment::default(),
            );
            Overlay::read(&parsed.unwrap())
        };
        for (text, why) in [
            (r#"{"backends": {"x": {}}}"#, "expected host:port"),
            (r#"{"backends": {"A:1": {}}}"#, "write `a:1`"),
            (
                r#"{"strategy": {"to": "best", "instead_of": "random"}}"#,
                "unknown strategy `best`",
            ),
            (
                r#"{"backends": {"a:1": {"weight": {"to": 0, "instead_of": 1}}}}"#,
                "1 to 65535",
            ),
            (
                r#"{"backends": {"a:1": {"wieght": 1}}}"#,
                "did you mean `weight`",
            ),
        ] {
            let faults = read(text).unwrap_err().to_string();
            assert!(faults.contains(why), "{faults}");
        }
    }

    #[test]
    fn overlay_that_cannot_be_written_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lb.overlay.json");
        let mut overlay = Overlay::default();
        overlay.amend(&backend(2, 1, Source::File).id).drained = true;
        overlay.save(&path).unwrap();
        assert_eq!(Overlay::load(&path).unwrap(), overlay);
        // Where the new file would be written, something is in the way.
        std::fs::create_dir(folder.path().join("lb.overlay.json.new")).unwrap();
        assert!(Overlay::default().save(&path).is_err());
        assert_eq!(Overlay::load(&path).unwrap(), overlay);
    }

    /// What a source says, and what was done by hand: ports, weights.
    fn amendments() -> impl Strategy<Value = Vec<(u16, Amendment)>> {
        let weight = proptest::option::of((1u32..9, 1u32..9))
            .prop_map(|weight| weight.map(|(to, instead_of)| Instead { to, instead_of }));
        let amendment =
            (any::<bool>(), any::<bool>(), weight).prop_map(|(removed, drained, weight)| {
                Amendment {
                    added: None,
                    removed,
                    drained,
                    weight,
                }
            });
        proptest::collection::vec((2u16..9, amendment), 0..6)
    }

    proptest! {
        #[test]
        fn pruning_changes_nothing_that_holds(
            said in proptest::collection::vec((1u16..9, 1u32..9), 0..9),
            amended in amendments(),
        ) {
            let mut said: Vec<BackendConfig> = said
                .into_iter()
                .map(|(port, weight)| backend(port, weight, Source::File))
                .collect();
            let mut seen = HashSet::new();
            said.retain(|backend| seen.insert(backend.id.clone()));
            let mut overlay = Overlay::default();
            for (port, amendment) in amended {
                *overlay.amend(&backend(port, 1, Source::File).id) = amendment;
            }
            let before = overlay.backends(said.clone(), own());
            let mut pruned = overlay.clone();
            pruned.prune(&said, &Config::default(), true);
            prop_assert_eq!(pruned.backends(said.clone(), own()), before);
            // And what is left of it survives the way through a file.
            let text = serde_json::to_string(&pruned).unwrap();
            prop_assert_eq!(serde_json::from_str::<Overlay>(&text).unwrap(), pruned);
        }
    }
}
