//! Who speaks: the resource that metrics and traces are of.

use crate::config::ResourceConfig;
use crate::otlp::text;
use fastrand::Rng;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;

/// The same for all that one process says.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) resource: Resource,
    pub(super) scope: InstrumentationScope,
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Identity {
    /// What the environment says wins over what we would say ourselves.
    pub(super) fn new(config: &ResourceConfig, rng: &mut Rng) -> Self {
        let mut attributes = vec![text("service.name", &config.service)];
        let said = config.attributes.iter();
        attributes.extend(said.map(|(name, value)| text(name, value)));
        let own = [
            text("service.version", VERSION),
            text("service.instance.id", uuid(rng.u128(..))),
        ];
        let host = host().map(|host| text("host.name", host));
        for attribute in own.into_iter().chain(host) {
            let same = |other: &KeyValue| other.key == attribute.key;
            if !attributes.iter().any(same) {
                attributes.push(attribute);
            }
        }
        Identity {
            resource: Resource {
                attributes,
                ..Resource::default()
            },
            scope: InstrumentationScope {
                name: "lemonade".to_owned(),
                version: VERSION.to_owned(),
                ..InstrumentationScope::default()
            },
        }
    }
}

fn host() -> Option<String> {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_str().ok()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// RFC 9562, version 4: all of it random but six bits.
fn uuid(random: u128) -> String {
    let marks = 0x4 << 76 | 0b10 << 62;
    let masks = 0xf << 76 | 0b11 << 62;
    let digits = format!("{:032x}", random & !masks | marks);
    let (a, rest) = digits.split_at(8);
    let (b, rest) = rest.split_at(4);
    let (c, rest) = rest.split_at(4);
    let (d, e) = rest.split_at(4);
    format!("{a}-{b}-{c}-{d}-{e}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_is_a_random_uuid() {
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
    }

    #[test]
    fn environment_wins() {
        let list = "team=a,service.version=9,host.name=h";
        let (config, _) = ResourceConfig::read(Some("edge"), Some(list));
        let identity = Identity::new(&config, &mut Rng::with_seed(1));
        let attributes = &identity.resource.attributes;
        for expected in [
            text("service.name", "edge"),
            text("team", "a"),
            text("service.version", "9"),
            text("host.name", "h"),
        ] {
            assert!(attributes.contains(&expected), "{attributes:?}");
        }
        assert_eq!(attributes.len(), 5);
        assert_eq!(attributes[4].key, "service.instance.id");
    }
}
