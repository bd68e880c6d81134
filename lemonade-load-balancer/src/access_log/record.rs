//! What is written down of a request when it has ended: short, and without a reference to anything else.

use super::AccessLogFormat;
use super::line::Line;
use super::texts::{Ends, Texts, TextsView};
use crate::http1::Version;
use crate::timestamp::Nanos;
use std::net::SocketAddr;

/// What became of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    /// Since 1970.
    pub(crate) ended: Nanos,
    pub(crate) total: Nanos,
    pub(crate) queue: Nanos,
    pub(crate) connect: Nanos,
    pub(crate) first_byte: Nanos,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) client: SocketAddr,
    /// Only the network of the client is to be named.
    pub(crate) truncate_client: bool,
    pub(crate) flag: Option<&'static str>,
    /// Who picked; `None` where nobody was to be picked.
    pub(crate) strategy: Option<&'static str>,
    pub(crate) status: u16,
    /// `None` where it could not be read.
    pub(crate) version: Option<Version>,
    pub(crate) format: AccessLogFormat,
}

/// The attempts of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attempts<'a> {
    pub(crate) made: usize,
    /// A JSON array of them; empty if it would tell nothing that the line does not.
    pub(crate) json: &'a [u8],
}

/// A record, and how long each of its texts is.
#[derive(Clone, Copy, Debug)]
struct Entry {
    record: Record,
    said: Ends,
    backend: u32,
    attempts: u32,
    attempts_made: u32,
}

/// Records in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Records {
    entries: Vec<Entry>,
    /// Of each record: what the request said, the backend's name, the attempts.
    texts: Vec<u8>,
}

impl Records {
    /// Adds one. `backend`: its name in JSON; nothing if there is none.
    pub(crate) fn push(
        &mut self,
        record: Record,
        said: &Texts,
        backend: &[u8],
        attempts: Attempts<'_>,
    ) {
        let texts = &mut self.texts;
        texts.extend_from_slice(said.bytes());
        texts.extend_from_slice(backend);
        texts.extend_from_slice(attempts.json);
        self.entries.push(Entry {
            record,
            said: *said.ends(),
            backend: backend.len() as u32,
            attempts: attempts.json.len() as u32,
            attempts_made: attempts.made as u32,
        });
    }

    /// Each of them, as a line tells it.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let mut texts = &*self.texts;
        self.entries.iter().map(move |entry| {
            let mut next = |length: usize| texts.split_off(..length).unwrap_or_default();
            let [.., length] = entry.said;
            Line {
                record: &entry.record,
                said: TextsView {
                    bytes: next(usize::from(length)),
                    ends: &entry.said,
                },
                backend: next(entry.backend as usize),
                attempts: next(entry.attempts as usize),
                attempts_made: entry.attempts_made,
            }
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.texts.clear();
    }
}
