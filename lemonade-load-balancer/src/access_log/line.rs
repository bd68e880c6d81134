//! One line: its fields, in their order, as JSON and as text. `docs/access-log.md` says what each of them means.

use super::escape::{escaped, is_plain};
use super::fields::{number, time, word};
use super::record::Record;
use super::texts::{Part, Text, TextsView};
use super::{AccessLogFormat, client};
use crate::bytes::{Pen, Put};
use crate::digits::{few_seconds, seconds, whole};
use crate::http1::Version;
use crate::timestamp::Stamp;
use std::time::Duration;

/// Bytes that everything in a line takes at most, but for its texts: 500 of names, a dozen numbers of 20 digits, words of ours.
const BESIDE_TEXTS: usize = 1 << 10;
/// What becomes of a byte at most: `\u001b`.
const ESCAPED: usize = 6;

/// What there is to tell of a request. Of what is not known there is nothing in the line.
#[derive(Debug)]
pub(crate) struct Line<'l> {
    pub(crate) record: &'l Record,
    pub(super) said: TextsView<'l>,
    /// As JSON; empty if there is none.
    pub(super) backend: Part<'l>,
    /// As JSON; empty if it would tell nothing that the line does not.
    pub(super) attempts: &'l [u8],
    pub(super) attempts_made: u32,
}

impl Line<'_> {
    /// It has no more bytes than this.
    pub(crate) fn most(&self) -> usize {
        let texts = self.said.all().len() * ESCAPED;
        BESIDE_TEXTS + texts + self.backend.len() + self.attempts.len()
    }

    /// Writes it, with its line feed, and says how long it is. There has to be room for [`Self::most`].
    pub(crate) fn write(&self, stamp: &mut Stamp, room: &mut [u8]) -> usize {
        let before = room.len();
        let mut out = Pen::new(room);
        match self.record.format {
            AccessLogFormat::Json => self.json(stamp, &mut out),
            AccessLogFormat::Text => self.text(stamp, &mut out),
        }
        before - out.left()
    }

    #[inline]
    fn json(&self, stamp: &mut Stamp, out: &mut Pen<'_>) {
        let record = self.record;
        // Nearly always nothing has to be escaped: to know that of all at once is cheap.
        let is_plain = is_plain(self.said.all());
        out.put_array(b"{\"time\":\"");
        stamp.write(record.ended.duration(), out);
        self.say(b"\",\"trace_id\":\"", Text::TraceId, is_plain, out);
        self.say(b"\",\"request_id\":\"", Text::RequestId, is_plain, out);
        out.put_array(b"\",\"client\":\"");
        client::name(record.client, record.truncate_client, out);
        self.say(b"\",\"method\":\"", Text::Method, is_plain, out);
        self.say(b"\",\"host\":\"", Text::Host, is_plain, out);
        self.say(b"\",\"path\":\"", Text::Path, is_plain, out);
        match record.version {
            Some(Version::Http11) => out.put_array(b"\",\"protocol\":\"HTTP/1.1\""),
            Some(Version::Http10) => out.put_array(b"\",\"protocol\":\"HTTP/1.0\""),
            None => out.put_array(b"\""),
        }
        number(b",\"status\":", u64::from(record.status), out);
        word(b",\"flag\":\"", record.flag, out);
        word(b",\"strategy\":\"", record.strategy, out);
        part(b",\"backend\":", self.backend, out);
        if !self.attempts.is_empty() {
            out.put_array(b",\"attempts\":");
            out.put(self.attempts);
        }
        match record.ordinary() {
            Some(text) => out.put_array(&text),
            None => record.json(out),
        }
        whole(record.bytes_out, out);
        self.say(b",\"user_agent\":\"", Text::UserAgent, is_plain, out);
        match self.said.part(Text::UserAgent).is_empty() {
            true => out.put_array(b"}\n"),
            false => out.put_array(b"\"}\n"),
        }
    }

    /// Writes one of the request's texts, if it is not empty. `name`: with the quote that begins it.
    #[inline]
    fn say<const N: usize>(&self, name: &[u8; N], text: Text, is_plain: bool, out: &mut impl Put) {
        let said = self.said.part(text);
        if said.is_empty() {
            return;
        }
        out.put_array(name);
        match is_plain {
            true => said.write(out),
            false => escaped(said.text(), out),
        }
    }

    /// For people.
    fn text(&self, stamp: &mut Stamp, out: &mut Pen<'_>) {
        let record = self.record;
        stamp.write(record.ended.duration(), out);
        out.put(b" ");
        client::name(record.client, record.truncate_client, out);
        self.say(b" \"", Text::Method, false, out);
        let said = |text| self.said.part(text).text();
        out.put(b" ");
        escaped(said(Text::Host), out);
        escaped(said(Text::Path), out);
        out.put(match record.version {
            None => b" \" ",
            Some(Version::Http10) => b" HTTP/1.0\" ",
            Some(Version::Http11) => b" HTTP/1.1\" ",
        });
        whole(u64::from(record.status), out);
        out.put(b" ");
        match self.backend.is_empty() {
            true => out.put(b"-"),
            false => self.backend.write(out),
        }
        out.put(b" ");
        seconds(record.total.duration(), out);
        out.put(b"s ");
        whole(record.bytes_out, out);
        out.put(b" ");
        match said(Text::RequestId) {
            b"" => out.put(b"-"),
            id => escaped(id, out),
        }
        self.details(out);
        out.put(b"\n");
    }

    /// What is out of the ordinary, as `name=value`, and what is long.
    fn details(&self, out: &mut Pen<'_>) {
        let record = self.record;
        if let Some(flag) = record.flag {
            out.put(b" ");
            out.put(flag.as_bytes());
        }
        if self.attempts_made > 1 {
            number(b" attempts=", u64::from(self.attempts_made), out);
        }
        time_with_unit(b" queue=", record.queue.duration(), out);
        time_with_unit(b" connect=", record.connect.duration(), out);
        time_with_unit(b" first_byte=", record.first_byte.duration(), out);
        if record.bytes_in > 0 {
            number(b" bytes_in=", record.bytes_in, out);
        }
        word(b" strategy=\"", record.strategy, out);
        self.say(b" trace_id=", Text::TraceId, false, out);
        if !self.said.part(Text::UserAgent).is_empty() {
            self.say(b" user_agent=\"", Text::UserAgent, false, out);
            out.put(b"\"");
        }
    }
}

impl Record {
    /// The times and sizes, as far as the number of `bytes_out`.
    fn json(&self, out: &mut impl Put) {
        time(b",\"queue_seconds\":", self.queue.duration(), out);
        time(b",\"connect_seconds\":", self.connect.duration(), out);
        time(b",\"first_byte_seconds\":", self.first_byte.duration(), out);
        out.put_array(b",\"total_seconds\":");
        seconds(self.total.duration(), out);
        if self.bytes_in > 0 {
            number(b",\"bytes_in\":", self.bytes_in, out);
        }
        out.put_array(b",\"bytes_out\":");
    }

    /// The same of a request without a body, over a kept connection, that was answered soon: written at once.
    #[inline]
    fn ordinary(&self) -> Option<[u8; 68]> {
        let waited = !self.queue.is_zero() || !self.connect.is_zero();
        if waited || self.first_byte.is_zero() || self.bytes_in > 0 {
            return None;
        }
        let mut text =
            *b",\"first_byte_seconds\":0.000000,\"total_seconds\":0.000000,\"bytes_out\":";
        text[22..30].copy_from_slice(&few_seconds(self.first_byte.duration())?);
        text[47..55].copy_from_slice(&few_seconds(self.total.duration())?);
        Some(text)
    }
}

/// There is nothing to escape.
#[inline]
fn part<const N: usize>(name: &[u8; N], part: Part<'_>, out: &mut impl Put) {
    if !part.is_empty() {
        out.put_array(name);
        part.write(out);
    }
}

fn time_with_unit<const N: usize>(name: &[u8; N], value: Duration, out: &mut impl Put) {
    if !value.is_zero() {
        time(name, value, out);
        out.put(b"s");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_log::record::Nanos;
    use crate::access_log::{Attempts, Records, Texts};
    use proptest::prelude::*;
    use serde_json::json;

    fn record() -> Record {
        Record {
            ended: Nanos::default(),
            total: Duration::from_micros(190).into(),
            queue: Nanos::default(),
            connect: Nanos::default(),
            first_byte: Nanos::default(),
            bytes_in: 0,
            bytes_out: 7,
            client: "192.0.2.7:4711".parse().unwrap(),
            truncate_client: false,
            flag: None,
            strategy: None,
            status: 200,
            version: Some(Version::Http11),
            format: AccessLogFormat::Json,
        }
    }

    fn lines(records: &Records) -> Vec<serde_json::Value> {
        let mut stamp = Stamp::default();
        let text = |line: Line<'_>| {
            let mut text = vec![0; line.most()];
            let length = line.write(&mut stamp, &mut text);
            text.truncate(length);
            String::from_utf8(text).unwrap()
        };
        let lines: Vec<String> = records.lines().map(text).collect();
        assert!(lines.iter().all(|line| line.ends_with("}\n")));
        lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn ordinary_request_is_told_as_every_other() {
        let micros = Duration::from_micros;
        let record = |first_byte: Duration, total: Duration, queue: Duration, bytes_in| Record {
            total: total.into(),
            first_byte: first_byte.into(),
            queue: queue.into(),
            bytes_in,
            ..record()
        };
        let none = Duration::ZERO;
        for (record, is_ordinary) in [
            (record(micros(182), micros(190), none, 0), true),
            (record(micros(9_999_999), micros(9_999_999), none, 0), true),
            (record(micros(182), micros(10_000_000), none, 0), false),
            (record(none, micros(190), none, 0), false),
            (record(micros(182), micros(190), micros(1), 0), false),
            (record(micros(182), micros(190), none, 1), false),
        ] {
            let mut in_parts = Vec::new();
            record.json(&mut in_parts);
            let at_once = record.ordinary();
            assert_eq!(at_once.is_some(), is_ordinary, "{record:?}");
            assert!(at_once.is_none_or(|at_once| at_once[..] == in_parts));
        }
    }

    #[test]
    fn nothing_is_said_of_what_is_not_there() {
        let mut texts = Texts::default();
        texts.say([b""; 6]);
        let refused = Record {
            version: None,
            status: 400,
            flag: Some("bad_request"),
            total: Nanos::default(),
            bytes_out: 0,
            ..record()
        };
        let mut records = Records::default();
        records.push(refused, &texts, b"", Attempts::default());
        let expected = json!({
            "time": "1970-01-01T00:00:00.000000Z", "client": "192.0.2.7:4711", "status": 400,
            "flag": "bad_request", "total_seconds": 0, "bytes_out": 0,
        });
        assert_eq!(lines(&records), [expected]);
    }

    fn said() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof!["[ -~]{0,40}".prop_map(String::into_bytes), any::<Vec<u8>>()]
    }

    proptest! {
        #[test]
        fn every_line_tells_what_was_said_of_its_own_request(
            requests in prop::collection::vec((said(), said(), said(), "[a-z.:-]{0,40}", 0usize..3, any::<bool>()), 0..8)
        ) {
            let mut records = Records::default();
            for (id, path, user_agent, host, attempts, traced) in &requests {
                let mut texts = Texts::default();
                let trace_id: &[u8] = if *traced { &[b'a'; 32] } else { b"" };
                texts.say([trace_id, id, b"GET", host.as_bytes(), path, user_agent]);
                let made = Attempts { made: *attempts, json: if *attempts > 1 { b"[1,2]" } else { b"" } };
                records.push(record(), &texts, b"\"b\"", made);
            }
            let lines = lines(&records);
            prop_assert_eq!(lines.len(), requests.len());
            for (line, (id, path, user_agent, host, attempts, traced)) in lines.iter().zip(&requests) {
                let told = [("request_id", &id[..]), ("path", path), ("user_agent", user_agent), ("host", host.as_bytes())];
                for (name, text) in told {
                    let kept = &text[..text.len().min(128)];
                    let expected = (!text.is_empty()).then(|| String::from_utf8_lossy(kept));
                    prop_assert_eq!(line[name].as_str(), expected.as_deref());
                }
                prop_assert_eq!([&line["client"], &line["method"], &line["backend"]], ["192.0.2.7:4711", "GET", "b"]);
                prop_assert_eq!(line["attempts"].is_array(), *attempts > 1);
                prop_assert_eq!(line["trace_id"].is_string(), *traced);
                prop_assert_eq!(&line["bytes_out"], 7);
            }
        }
    }
}
