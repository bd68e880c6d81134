//! One line: its fields, in their order, as JSON and as text. `docs/access-log.md` says what each of them means.

use super::client::ClientName;
use super::text::escaped;
use super::{Finish, Form};
use crate::digits::{few_seconds, seconds, whole};
use crate::proxy::asked::Asked;
use crate::proxy::journal::Attempt;
use crate::timestamp::Stamp;
use std::time::Duration;

/// What there is to tell of a request. Of what is not known there is nothing in the line.
pub(super) struct Line<'l> {
    pub(super) asked: &'l Asked,
    pub(super) strategy: Option<&'static str>,
    pub(super) attempts: &'l [Attempt],
    pub(super) finish: &'l Finish,
    pub(super) form: Form,
}

impl Line<'_> {
    /// Writes the line as a JSON object, with its line feed. `ended`: when the request did, since 1970.
    pub(super) fn json(&self, ended: Duration, stamp: &mut Stamp, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        stamp.write(ended, out);
        if let Some(id) = &self.asked.trace_id {
            out.extend_from_slice(b"\",\"trace_id\":\"");
            out.extend_from_slice(id);
        }
        self.asked.json(self.form.truncate_clients, out);
        number(b",\"status\":", u64::from(self.finish.status), out);
        word(b",\"flag\":\"", self.finish.flag, out);
        word(b",\"strategy\":\"", self.strategy, out);
        if let Some(backend) = &self.finish.backend {
            out.extend_from_slice(b",\"backend\":");
            out.extend_from_slice(&backend.json_name());
        }
        if !self.tells_its_attempts() {
            self.attempts(out);
        }
        match self.finish.ordinary() {
            Some(text) => out.extend_from_slice(&text),
            None => self.finish.json(out),
        }
        whole(self.finish.bytes_out, out);
        out.extend_from_slice(self.asked.json_end());
    }

    /// Whether what became of every attempt is in the line already: there was none, or one, which went well.
    fn tells_its_attempts(&self) -> bool {
        match self.attempts {
            [] => true,
            [only] => only.error.is_none() && only.status == Some(self.finish.status),
            [..] => false,
        }
    }

    fn attempts(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"attempts\":");
        for (place, attempt) in self.attempts.iter().enumerate() {
            out.push(if place == 0 { b'[' } else { b',' });
            attempt.json(out);
        }
        out.push(b']');
    }

    /// Writes the line for people, with its line feed.
    pub(super) fn text(&self, ended: Duration, stamp: &mut Stamp, out: &mut Vec<u8>) {
        stamp.write(ended, out);
        out.push(b' ');
        let client = ClientName::of(self.asked.client, self.form.truncate_clients);
        out.extend_from_slice(client.text());
        out.extend_from_slice(b" \"");
        out.extend_from_slice(self.asked.method());
        out.push(b' ');
        escaped(self.asked.host(), out);
        escaped(self.asked.path(), out);
        out.push(b' ');
        out.extend_from_slice(self.asked.protocol().as_bytes());
        out.extend_from_slice(b"\" ");
        whole(u64::from(self.finish.status), out);
        out.push(b' ');
        match &self.finish.backend {
            Some(backend) => out.extend_from_slice(&backend.json_name()),
            None => out.push(b'-'),
        }
        out.push(b' ');
        seconds(self.finish.total, out);
        out.extend_from_slice(b"s ");
        whole(self.finish.bytes_out, out);
        out.push(b' ');
        match self.asked.request_id() {
            b"" => out.push(b'-'),
            id => escaped(id, out),
        }
        self.details(out);
        out.push(b'\n');
    }

    /// What is out of the ordinary, as `name=value`, and what is long.
    fn details(&self, out: &mut Vec<u8>) {
        if let Some(flag) = self.finish.flag {
            out.push(b' ');
            out.extend_from_slice(flag.as_bytes());
        }
        if self.attempts.len() > 1 {
            number(b" attempts=", self.attempts.len() as u64, out);
        }
        time_with_unit(b" queue=", self.finish.queue, out);
        time_with_unit(b" connect=", self.finish.connect, out);
        time_with_unit(b" first_byte=", self.finish.first_byte, out);
        if self.finish.bytes_in > 0 {
            number(b" bytes_in=", self.finish.bytes_in, out);
        }
        word(b" strategy=\"", self.strategy, out);
        if let Some(id) = &self.asked.trace_id {
            out.extend_from_slice(b" trace_id=");
            out.extend_from_slice(id);
        }
        text(b" user_agent=\"", self.asked.user_agent(), out);
    }
}

impl Finish {
    /// The times and sizes, as far as the number of `bytes_out`.
    fn json(&self, out: &mut Vec<u8>) {
        time(b",\"queue_seconds\":", self.queue, out);
        time(b",\"connect_seconds\":", self.connect, out);
        time(b",\"first_byte_seconds\":", self.first_byte, out);
        out.extend_from_slice(b",\"total_seconds\":");
        seconds(self.total, out);
        if self.bytes_in > 0 {
            number(b",\"bytes_in\":", self.bytes_in, out);
        }
        out.extend_from_slice(b",\"bytes_out\":");
    }

    /// The same of a request without a body, over a kept connection, that was answered soon: written at once.
    fn ordinary(&self) -> Option<[u8; 68]> {
        let extra = self.queue + self.connect;
        if !extra.is_zero() || self.first_byte.is_zero() || self.bytes_in > 0 {
            return None;
        }
        let mut text =
            *b",\"first_byte_seconds\":0.000000,\"total_seconds\":0.000000,\"bytes_out\":";
        text[22..30].copy_from_slice(&few_seconds(self.first_byte)?);
        text[47..55].copy_from_slice(&few_seconds(self.total)?);
        Some(text)
    }
}

impl Attempt {
    fn json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"backend\":");
        out.extend_from_slice(&self.upstream.json_name());
        if let Some(status) = self.status {
            number(b",\"status\":", u64::from(status), out);
        }
        word(b",\"error\":\"", self.error, out);
        time(b",\"began_seconds\":", self.began, out);
        let sent = self.sent();
        if self.connected.is_some() {
            let took = sent.saturating_sub(self.began);
            time(b",\"connect_seconds\":", took, out);
        }
        if let Some(came) = self.first_byte {
            time(b",\"first_byte_seconds\":", came.saturating_sub(sent), out);
        }
        if let Some(ended) = self.ended {
            let took = ended.saturating_sub(self.began);
            time(b",\"total_seconds\":", took, out);
        }
        if self.reused {
            out.extend_from_slice(b",\"reused\":true");
        }
        if self.hedge {
            out.extend_from_slice(b",\"hedge\":true");
        }
        out.push(b'}');
    }
}

/// `name`: with the quote that begins the text.
fn text<const N: usize>(name: &[u8; N], value: &[u8], out: &mut Vec<u8>) {
    if !value.is_empty() {
        out.extend_from_slice(name);
        escaped(value, out);
        out.push(b'"');
    }
}

/// One of ours: there is nothing to escape.
fn word<const N: usize>(name: &[u8; N], word: Option<&'static str>, out: &mut Vec<u8>) {
    if let Some(word) = word {
        out.extend_from_slice(name);
        out.extend_from_slice(word.as_bytes());
        out.push(b'"');
    }
}

fn number<const N: usize>(name: &[u8; N], value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    whole(value, out);
}

/// None where it took no time: nothing was waited for, or it did not come to that.
fn time<const N: usize>(name: &[u8; N], value: Duration, out: &mut Vec<u8>) {
    if !value.is_zero() {
        out.extend_from_slice(name);
        seconds(value, out);
    }
}

fn time_with_unit<const N: usize>(name: &[u8; N], value: Duration, out: &mut Vec<u8>) {
    if !value.is_zero() {
        time(name, value, out);
        out.push(b's');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn ordinary_request_is_told_as_every_other() {
        let micros = Duration::from_micros;
        let finish = |first_byte, total, queue, bytes_in| Finish {
            ended: Instant::now(),
            total,
            status: 200,
            flag: None,
            backend: None,
            queue,
            connect: Duration::ZERO,
            first_byte,
            bytes_in,
            bytes_out: 7,
        };
        let none = Duration::ZERO;
        for (finish, is_ordinary) in [
            (finish(micros(182), micros(190), none, 0), true),
            (finish(micros(9_999_999), micros(9_999_999), none, 0), true),
            (finish(micros(182), micros(10_000_000), none, 0), false),
            (finish(none, micros(190), none, 0), false),
            (finish(micros(182), micros(190), micros(1), 0), false),
            (finish(micros(182), micros(190), none, 1), false),
        ] {
            let mut in_parts = Vec::new();
            finish.json(&mut in_parts);
            let at_once = finish.ordinary();
            assert_eq!(at_once.is_some(), is_ordinary, "{finish:?}");
            assert!(at_once.is_none_or(|at_once| at_once[..] == in_parts));
        }
    }
}
