//! A name in DNS whose records are the workers: A and AAAA with one port for all, or SRV with a port and a weight each.
//!
//! Called by whoever runs discovery. Promise: the name is asked again when its shortest TTL is over, every time at the
//! server, and a name that is not there, or not there yet, changes nothing.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::{StreamExt, future, stream};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use lemonade_config::Address;
use thiserror::Error;
use tokio::time::timeout;
use tracing::debug;

use super::backoff::Backoff;
use super::found::{Found, Report};
use super::reporter::Reporter;
use crate::config::{DnsConfig, DnsKind};

/// For one name with all its retries; SRV takes it twice, for the records and for their targets.
const PATIENCE: Duration = Duration::from_secs(5);

/// For one question to one server: short enough that a lost packet is made up for within [`PATIENCE`].
const QUESTION: Duration = Duration::from_secs(2);

/// Targets of SRV records that are asked for at the same time.
const AT_ONCE: usize = 16;

/// When some target of SRV records did not resolve, all is asked again this soon.
const UNRESOLVED: Duration = Duration::from_secs(5);

/// Whatever the configuration says: a TTL of 0 must not make a busy loop.
const SHORTEST: Duration = Duration::from_millis(10);

/// Asks now and whenever the shortest TTL is over, for ever; dropping the future ends it.
///
/// Each failure, and each answer without records, is one [`Report::Away`], asked again after 1 s, doubling to 30 s.
pub(super) async fn watch(config: DnsConfig, report: impl FnMut(Report)) {
    let mut reporter = Reporter::new(report);
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    loop {
        let again_in = match ask(&config, reporter.found()).await {
            Ok(answer) => {
                backoff.reset();
                reporter.set(answer.found, answer.left_out);
                let ttl = answer.ttl.max(config.min_ttl).min(config.max_ttl);
                ttl.max(SHORTEST)
            }
            Err(error) => {
                let again_in = backoff.next();
                debug!(%error, ?again_in, "the name of the workers cannot be asked");
                reporter.away(error.to_string(), again_in);
                again_in
            }
        };
        tokio::time::sleep(again_in).await;
    }
}

/// Why there is no set.
#[derive(Debug, Error)]
enum Fault {
    #[error("no {records} records for `{name}`")]
    NoRecords { name: String, records: &'static str },
    #[error("`{name}` says that it is not available")]
    NotAvailable { name: String },
    #[error("no target of `{name}` resolves")]
    NoTarget { name: String },
    #[error("no answer for `{name}` within {PATIENCE:?}")]
    Timeout { name: String },
    #[error("cannot resolve `{name}`: {why}")]
    Failed { name: String, why: String },
    #[error("cannot read the system's resolver configuration: {0}")]
    System(NetError),
}

/// A set and how long it is good for.
struct Answer {
    found: Vec<Found>,
    left_out: Vec<String>,
    ttl: Duration,
}

async fn ask(config: &DnsConfig, last: &[Found]) -> Result<Answer, Fault> {
    let resolver = resolver(config.server)?;
    match config.kind {
        DnsKind::Address { port } => ask_addresses(&resolver, config, port, last).await,
        DnsKind::Srv => ask_services(&resolver, &config.name, last).await,
    }
}

/// A new one for every question, so that there is no cache that could answer and a changed `resolv.conf` counts.
fn resolver(server: Option<SocketAddr>) -> Result<TokioResolver, Fault> {
    let mut builder = match server {
        Some(server) => {
            let config = ResolverConfig::from_name_servers(vec![name_server(server)]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
        None => TokioResolver::builder_tokio().map_err(Fault::System)?,
    };
    adjust(builder.options_mut(), server.is_some());
    builder.build().map_err(Fault::System)
}

fn adjust(options: &mut ResolverOpts, own_server: bool) {
    options.cache_size = 0;
    options.timeout = QUESTION;
    options.attempts = 1;
    if own_server {
        options.use_hosts_file = ResolveHosts::Never;
    }
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    NameServerConfig::new(server.ip(), true, connections.into())
}

async fn ask_addresses(
    resolver: &TokioResolver,
    config: &DnsConfig,
    port: u16,
    last: &[Found],
) -> Result<Answer, Fault> {
    let addresses = addresses(resolver, &config.name, last).await?;
    let mut set = Set::default();
    for ip in addresses.ips {
        set.add(SocketAddr::new(ip, port), config.weight, &config.name);
    }
    Ok(set.answer(addresses.ttl))
}

async fn ask_services(
    resolver: &TokioResolver,
    name: &str,
    last: &[Found],
) -> Result<Answer, Fault> {
    let records = lookup(resolver, name, RecordType::SRV).await?;
    let mut ttl = shortest(&records);
    let (mut set, mut resolved) = (Set::default(), false);
    let mut targets = stream::iter(preferred(&records, name)?)
        .map(|service| async move {
            let target = service.target.to_ascii();
            (service, addresses(resolver, &target, last).await)
        })
        .buffered(AT_ONCE);
    while let Some((service, answer)) = targets.next().await {
        match answer {
            Ok(addresses) => {
                resolved = true;
                ttl = ttl.min(addresses.ttl);
                let (weight, target) =
                    (u32::from(service.weight).max(1), service.target.to_ascii());
                for ip in addresses.ips {
                    set.add(SocketAddr::new(ip, service.port), weight, &target);
                }
            }
            Err(fault) => {
                ttl = ttl.min(UNRESOLVED);
                set.left_out.push(fault.to_string());
            }
        }
    }
    match resolved {
        true => Ok(set.answer(ttl)),
        false => Err(Fault::NoTarget {
            name: name.to_owned(),
        }),
    }
}

/// RFC 2782: "A client MUST attempt to contact the target host with the lowest-numbered priority it can reach". Others
/// are for when those are gone from DNS. A single target `.` means that the service is not there.
fn preferred<'r>(records: &'r [Record], name: &str) -> Result<Vec<&'r SRV>, Fault> {
    let services = records.iter().filter_map(|record| match &record.data {
        RData::SRV(service) => Some(service),
        _ => None,
    });
    let services: Vec<&SRV> = services
        .filter(|service| !service.target.is_root())
        .collect();
    let lowest = services.iter().map(|service| service.priority).min();
    let lowest = lowest.ok_or_else(|| Fault::NotAvailable {
        name: name.to_owned(),
    })?;
    let preferred = services.into_iter();
    Ok(preferred
        .filter(|service| service.priority == lowest)
        .collect())
}

/// The addresses of a name, never none.
struct Addresses {
    ips: Vec<IpAddr>,
    ttl: Duration,
}

/// IPv4 and IPv6 together.
///
/// One of the two may fail, as IPv6 questions do at some servers for ever; but if the last set had addresses of that
/// family, half an answer would take workers away that are there.
async fn addresses(
    resolver: &TokioResolver,
    name: &str,
    last: &[Found],
) -> Result<Addresses, Fault> {
    let had = |ipv4: bool| last.iter().any(|found| found.endpoint.is_ipv4() == ipv4);
    let (ipv4, ipv6) = future::join(
        lookup(resolver, name, RecordType::A),
        lookup(resolver, name, RecordType::AAAA),
    )
    .await;
    let records = match (ipv4, ipv6) {
        (Ok(ipv4), Ok(ipv6)) => [ipv4, ipv6].concat(),
        (Ok(ipv4), Err(fault)) if fault.is_answer() || !had(false) => ipv4,
        (Err(fault), Ok(ipv6)) if fault.is_answer() || !had(true) => ipv6,
        (Err(fault), Err(other)) if fault.is_answer() && !other.is_answer() => return Err(other),
        (Err(fault), _) | (_, Err(fault)) => return Err(fault),
    };
    Ok(Addresses {
        ips: records
            .iter()
            .filter_map(|record| record.data.ip_addr())
            .collect(),
        ttl: shortest(&records),
    })
}

impl Fault {
    /// The server has said that there is nothing; it is not that it did not say anything.
    fn is_answer(&self) -> bool {
        matches!(self, Fault::NoRecords { .. })
    }
}

/// The records of this type, and the aliases on the way to them; never without one of this type.
async fn lookup(
    resolver: &TokioResolver,
    name: &str,
    kind: RecordType,
) -> Result<Vec<Record>, Fault> {
    let answer = timeout(PATIENCE, resolver.lookup(name, kind))
        .await
        .map_err(|_| Fault::Timeout {
            name: name.to_owned(),
        })?;
    let no_records = || Fault::NoRecords {
        name: name.to_owned(),
        records: match kind {
            RecordType::SRV => "SRV",
            _ => "A or AAAA",
        },
    };
    let records = match answer {
        Ok(answer) => answer.answers().to_vec(),
        Err(error) if says_nothing(&error) => return Err(no_records()),
        Err(error) => {
            return Err(Fault::Failed {
                name: name.to_owned(),
                why: error.to_string(),
            });
        }
    };
    match records.iter().any(|record| record.record_type() == kind) {
        true => Ok(records),
        false => Err(no_records()),
    }
}

/// NXDOMAIN, or a name without such records.
fn says_nothing(error: &NetError) -> bool {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => matches!(
            none.response_code,
            ResponseCode::NoError | ResponseCode::NXDomain
        ),
        _ => false,
    }
}

fn shortest(records: &[Record]) -> Duration {
    let ttl = records.iter().map(|record| record.ttl).min();
    Duration::from_secs(ttl.unwrap_or_default().into())
}

/// Workers by address, each once.
#[derive(Default)]
struct Set {
    found: Vec<Found>,
    left_out: Vec<String>,
    seen: HashSet<SocketAddr>,
}

impl Set {
    fn add(&mut self, endpoint: SocketAddr, weight: u32, name: &str) {
        match endpoint.to_string().parse::<Address>() {
            Err(error) => self
                .left_out
                .push(format!("{endpoint} of `{name}`: {error}")),
            Ok(_) if !self.seen.insert(endpoint) => {
                let why = "another record has the same address";
                self.left_out.push(format!("{endpoint} of `{name}`: {why}"));
            }
            Ok(address) => self.found.push(Found {
                address,
                endpoint,
                name: None,
                weight,
            }),
        }
    }

    /// Sorted: servers rotate their answers, which is no change.
    fn answer(mut self, ttl: Duration) -> Answer {
        self.found.sort_by(|a, b| a.address.cmp(&b.address));
        self.left_out.sort();
        Answer {
            found: self.found,
            left_out: self.left_out,
            ttl,
        }
    }
}
