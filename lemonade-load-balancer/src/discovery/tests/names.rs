//! A DNS server that answers what the test has written down.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::task::{JoinHandle, spawn_local};

/// Names that are not written down do not exist; what is written down as `fails` fails.
pub(crate) struct Names {
    zone: Arc<Mutex<Zone>>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Zone {
    records: Vec<Record>,
    fails: Vec<(String, RecordType)>,
    asked: HashMap<(String, RecordType), usize>,
}

impl Names {
    pub(crate) async fn start() -> Names {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let zone = Arc::<Mutex<Zone>>::default();
        let server = spawn_local(serve(socket, zone.clone()));
        Names {
            zone,
            address,
            server,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces all records: name, TTL in seconds, type, data.
    pub(crate) fn are(&self, records: &[(&str, u32, &str)]) {
        self.zone.lock().unwrap().records = records.iter().map(record).collect();
    }

    /// From now on, questions of this type about this name fail at the server.
    pub(crate) fn fail(&self, name: &str, kind: RecordType) {
        self.zone
            .lock()
            .unwrap()
            .fails
            .push((name.to_owned(), kind));
    }

    /// How often the name was asked for.
    pub(crate) fn asked(&self, name: &str, kind: RecordType) -> usize {
        let asked = &self.zone.lock().unwrap().asked;
        asked
            .get(&(name.to_owned(), kind))
            .copied()
            .unwrap_or_default()
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = [0; 4096];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
        let question = Message::from_vec(&buffer[..length]).unwrap();
        let answer = zone.lock().unwrap().answer(&question);
        socket
            .send_to(&answer.to_vec().unwrap(), peer)
            .await
            .unwrap();
    }
}

impl Zone {
    fn answer(&mut self, question: &Message) -> Message {
        let query = question.queries[0].clone();
        let (name, kind) = (query.name().clone(), query.query_type());
        let key = (name.to_ascii(), kind);
        *self.asked.entry(key.clone()).or_default() += 1;
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.metadata.recursion_desired = true;
        answer.metadata.recursion_available = true;
        let known = self.records.iter().any(|record| record.name == name);
        answer.metadata.response_code = match (self.fails.contains(&key), known) {
            (true, _) => ResponseCode::ServFail,
            (_, true) => ResponseCode::NoError,
            (_, false) => ResponseCode::NXDomain,
        };
        if !self.fails.contains(&key) {
            self.collect(&name, kind, &mut answer);
        }
        answer.add_query(query);
        answer
    }

    /// As a recursive server does, with the records that an alias leads to.
    fn collect(&self, name: &Name, kind: RecordType, answer: &mut Message) {
        for record in self.records.iter().filter(|record| record.name == *name) {
            if let RData::CNAME(alias) = &record.data {
                answer.add_answer(record.clone());
                self.collect(&alias.0, kind, answer);
            } else if record.record_type() == kind {
                answer.add_answer(record.clone());
            }
        }
    }
}

/// The data tells the type: an address, `priority weight port target`, or the name that an alias leads to.
fn record((name, ttl, data): &(&str, u32, &str)) -> Record {
    let words: Vec<&str> = data.split(' ').collect();
    let data = match (words.as_slice(), data.parse()) {
        (_, Ok(std::net::IpAddr::V4(ip))) => RData::A(A(ip)),
        (_, Ok(std::net::IpAddr::V6(ip))) => RData::AAAA(AAAA(ip)),
        ([priority, weight, port, target], _) => RData::SRV(SRV::new(
            priority.parse().unwrap(),
            weight.parse().unwrap(),
            port.parse().unwrap(),
            Name::from_ascii(target).unwrap(),
        )),
        _ => RData::CNAME(CNAME(Name::from_ascii(data).unwrap())),
    };
    Record::from_rdata(Name::from_ascii(name).unwrap(), *ttl, data)
}
