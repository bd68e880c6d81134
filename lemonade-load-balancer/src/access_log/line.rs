//! One line: its fields, in their order, as JSON and as text. `docs/access-log.md` says what each of them means.

use super::escape::{escaped, is_plain};
use super::fields::{number, time, word};
use super::record::Record;
use super::texts::{Text, TextsView};
use super::{AccessLogFormat, client};
use crate::digits::{few_seconds, seconds, whole};
use crate::http1::Version;
use crate::timestamp::Stamp;
use std::time::Duration;

/// What there is to tell of a request. Of what is not known there is nothing in the line.
#[derive(Debug)]
pub(crate) struct Line<'l> {
    pub(crate) record: &'l Record,
    pub(super) said: TextsView<'l>,
    /// As JSON; empty if there is none.
    pub(super) backend: &'l [u8],
    /// As JSON; empty if it would tell nothing that the line does not.
    pub(super) attempts: &'l [u8],
    pub(super) attempts_made: u32,
}

impl Line<'_> {
    /// Writes it, with its line feed.
    pub(crate) fn write(&self, stamp: &mut Stamp, out: &mut Vec<u8>) {
        match self.record.format {
            AccessLogFormat::Json => self.json(stamp, out),
            AccessLogFormat::Text => self.text(stamp, out),
        }
    }

    fn json(&self, stamp: &mut Stamp, out: &mut Vec<u8>) {
        let record = self.record;
        // Nearly always nothing has to be escaped: to know that of all at once is cheap.
        let is_plain = is_plain(self.said.bytes);
        out.extend_from_slice(b"{\"time\":\"");
        stamp.write(record.ended.duration(), out);
        self.say(b"\",\"trace_id\":\"", Text::TraceId, is_plain, out);
        self.say(b"\",\"request_id\":\"", Text::RequestId, is_plain, out);
        out.extend_from_slice(b"\",\"client\":\"");
        client::name(record.client, record.truncate_client, out);
        self.say(b"\",\"method\":\"", Text::Method, is_plain, out);
        self.say(b"\",\"host\":\"", Text::Host, is_plain, out);
        self.say(b"\",\"path\":\"", Text::Path, is_plain, out);
        match record.version {
            Some(Version::Http11) => out.extend_from_slice(b"\",\"protocol\":\"HTTP/1.1\""),
            Some(Version::Http10) => out.extend_from_slice(b"\",\"protocol\":\"HTTP/1.0\""),
            None => out.extend_from_slice(b"\""),
        }
        number(b",\"status\":", u64::from(record.status), out);
        word(b",\"flag\":\"", record.flag, out);
        word(b",\"strategy\":\"", record.strategy, out);
        plain(b",\"backend\":", self.backend, out);
        plain(b",\"attempts\":", self.attempts, out);
        match record.ordinary() {
            Some(text) => out.extend_from_slice(&text),
            None => record.json(out),
        }
        whole(record.bytes_out, out);
        self.say(b",\"user_agent\":\"", Text::UserAgent, is_plain, out);
        match self.said.text(Text::UserAgent).is_empty() {
            true => out.extend_from_slice(b"}\n"),
            false => out.extend_from_slice(b"\"}\n"),
        }
    }

    /// Writes one of the request's texts, if it is not empty. `name`: with the quote that begins it.
    fn say<const N: usize>(&self, name: &[u8; N], text: Text, is_plain: bool, out: &mut Vec<u8>) {
        let said = self.said.text(text);
        if said.is_empty() {
            return;
        }
        out.extend_from_slice(name);
        match is_plain {
            true => out.extend_from_slice(said),
            false => escaped(said, out),
        }
    }

    /// For people.
    fn text(&self, stamp: &mut Stamp, out: &mut Vec<u8>) {
        let record = self.record;
        stamp.write(record.ended.duration(), out);
        out.extend_from_slice(b" ");
        client::name(record.client, record.truncate_client, out);
        let said = |text| self.said.text(text);
        out.extend_from_slice(b" \"");
        out.extend_from_slice(said(Text::Method));
        out.extend_from_slice(b" ");
        escaped(said(Text::Host), out);
        escaped(said(Text::Path), out);
        out.extend_from_slice(match record.version {
            None => b" \" ",
            Some(Version::Http10) => b" HTTP/1.0\" ",
            Some(Version::Http11) => b" HTTP/1.1\" ",
        });
        whole(u64::from(record.status), out);
        out.extend_from_slice(b" ");
        match self.backend.is_empty() {
            true => out.extend_from_slice(b"-"),
            false => out.extend_from_slice(self.backend),
        }
        out.extend_from_slice(b" ");
        seconds(record.total.duration(), out);
        out.extend_from_slice(b"s ");
        whole(record.bytes_out, out);
        out.extend_from_slice(b" ");
        match said(Text::RequestId) {
            b"" => out.extend_from_slice(b"-"),
            id => escaped(id, out),
        }
        self.details(out);
        out.extend_from_slice(b"\n");
    }

    /// What is out of the ordinary, as `name=value`, and what is long.
    fn details(&self, out: &mut Vec<u8>) {
        let record = self.record;
        if let Some(flag) = record.flag {
            out.extend_from_slice(b" ");
            out.extend_from_slice(flag.as_bytes());
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
        if !self.said.text(Text::UserAgent).is_empty() {
            self.say(b" user_agent=\"", Text::UserAgent, false, out);
            out.extend_from_slice(b"\"");
        }
    }
}

impl Record {
    /// The times and sizes, as far as the number of `bytes_out`.
    fn json(&self, out: &mut Vec<u8>) {
        time(b",\"queue_seconds\":", self.queue.duration(), out);
        time(b",\"connect_seconds\":", self.connect.duration(), out);
        time(b",\"first_byte_seconds\":", self.first_byte.duration(), out);
        out.extend_from_slice(b",\"total_seconds\":");
        seconds(self.total.duration(), out);
        if self.bytes_in > 0 {
            number(b",\"bytes_in\":", self.bytes_in, out);
        }
        out.extend_from_slice(b",\"bytes_out\":");
    }

    /// The same of a request without a body, over a kept connection, that was answered soon: written at once.
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
fn plain<const N: usize>(name: &[u8; N], value: &[u8], out: &mut Vec<u8>) {
    if !value.is_empty() {
        out.extend_from_slice(name);
        out.extend_from_slice(value);
    }
}

fn time_with_unit<const N: usize>(name: &[u8; N], value: Duration, out: &mut Vec<u8>) {
    if !value.is_zero() {
        time(name, value, out);
        out.extend_from_slice(b"s");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_log::{Attempts, Records, Texts};
    use crate::digits::tests::written;
    use crate::timestamp::Nanos;
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
        let text = |line: Line<'_>| written(|out| line.write(&mut stamp, out));
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

    #[test]
    fn text_line_has_its_quotes_whatever_is_not_known() {
        let text = |texts: [&[u8]; 6], version| {
            let mut said = Texts::default();
            said.say(texts);
            let record = Record {
                version,
                format: AccessLogFormat::Text,
                ..record()
            };
            let mut records = Records::default();
            records.push(record, &said, b"", Attempts::default());
            let line = records.lines().next().unwrap();
            written(|out| line.write(&mut Stamp::default(), out))
        };
        let begin = "1970-01-01T00:00:00.000000Z 192.0.2.7:4711 ";
        let end = "200 - 0.000190s 7 ";
        assert_eq!(text([b""; 6], None), format!("{begin}\"  \" {end}-\n"));
        let all: [&[u8]; 6] = [b"", b"id", b"GET", b"shop", b"/a\"b", b"me"];
        assert_eq!(
            text(all, Some(Version::Http10)),
            format!("{begin}\"GET shop/a\\\"b HTTP/1.0\" {end}id user_agent=\"me\"\n")
        );
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
