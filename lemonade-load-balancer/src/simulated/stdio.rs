//! The balancer driven by another program, line by line: `lemonade simulate --stdio`.
//!
//! ```text
//! to it    pool <n> <replicas> <seed> <weight>...          once, first: n backends, numbered 0..n-1
//!          alive <t us> <backend>...                       what active health checks call alive: at the start, on change
//!          done <replica> <backend> <t us> <latency us> <1 ok | 0 failed>
//!          pick <replica> <t us>                           it answers one line: the number of the backend
//! ```

use super::{Balancer, Setup};
use crate::config::Config;
use crate::strategy::Name;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::str::{FromStr, SplitAsciiWhitespace};
use std::time::Duration;
use thiserror::Error;

/// More replicas than anybody runs.
const MOST_REPLICAS: usize = 10_000;
/// More backends than one balancer is meant for.
const MOST_BACKENDS: usize = 100_000;

/// Why a conversation ended early.
#[derive(Debug, Error)]
pub enum ProtocolError {
    /// Its input or output broke.
    #[error("standard input or output")]
    Io(#[from] io::Error),
    /// It was told something that it cannot make sense of.
    #[error("line {line}: {fault}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong, and what would be right.
        fault: Fault,
    },
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// Another line must come first.
    #[error("expected `pool <n> <replicas> <seed> <weight>...` first, found `{0}`")]
    NoPool(String),
    /// There is a pool.
    #[error("a second `pool`")]
    SecondPool,
    /// No such word.
    #[error("expected `alive`, `done` or `pick`, found `{0}`")]
    Word(String),
    /// A number is missing.
    #[error("expected {0}, found the end of the line")]
    Missing(&'static str),
    /// Not a number, or out of bounds.
    #[error("expected {expected}, found `{found}`")]
    Number {
        /// What would be right.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// There is something after the end.
    #[error("expected the end of the line, found `{0}`")]
    Extra(String),
}

/// Answers `input` on `output` until it ends. Time is what the lines say; one that goes back is taken as the latest so far. What
/// was answered is flushed before more input is waited for.
pub fn serve(
    input: impl Read,
    mut output: impl Write,
    strategy: Name,
    shared: bool,
    config: &Config,
) -> Result<(), ProtocolError> {
    let mut input = BufReader::with_capacity(64 << 10, input);
    let mut session = Session {
        balancer: None,
        strategy,
        shared,
        config,
        now: Duration::ZERO,
    };
    let mut answers = Vec::new();
    let (mut text, mut line) = (Vec::new(), 0);
    loop {
        if memchr::memchr(b'\n', input.buffer()).is_none() && !answers.is_empty() {
            output.write_all(&answers)?;
            output.flush()?;
            answers.clear();
        }
        text.clear();
        if input.read_until(b'\n', &mut text)? == 0 {
            return Ok(());
        }
        line += 1;
        let said = String::from_utf8_lossy(&text);
        let obeyed = session.obey(&said);
        if let Some(backend) = obeyed.map_err(|fault| ProtocolError::Line { line, fault })? {
            answers.extend_from_slice(itoa::Buffer::new().format(backend).as_bytes());
            answers.push(b'\n');
        }
    }
}

/// One pool, and how far time has come.
struct Session<'c> {
    balancer: Option<Balancer>,
    strategy: Name,
    shared: bool,
    config: &'c Config,
    now: Duration,
}

impl Session<'_> {
    /// The answer to a line, if it asks for one. Blank lines mean nothing.
    fn obey(&mut self, line: &str) -> Result<Option<usize>, Fault> {
        let mut words = Words(line.split_ascii_whitespace());
        let Some(word) = words.0.next() else {
            return Ok(None);
        };
        let Some(balancer) = &mut self.balancer else {
            if word != "pool" {
                return Err(Fault::NoPool(shown(word)));
            }
            self.balancer = Some(Balancer::new(&self.setup(&mut words)?));
            return Ok(None);
        };
        let (size, replicas) = (balancer.size(), balancer.replicas());
        match word {
            "pick" => {
                let replica = words.below(replicas, REPLICA)?;
                self.now = self.now.max(words.micros(TIME)?);
                words.end()?;
                Ok(Some(balancer.pick(replica, self.now)))
            }
            "done" => {
                let replica = words.below(replicas, REPLICA)?;
                let backend = words.below(size, BACKEND)?;
                self.now = self.now.max(words.micros(TIME)?);
                let latency = words.micros("a latency in microseconds")?;
                let ok = words.below(2, "1 for an answer or 0 for a failure")? == 1;
                words.end()?;
                balancer.done(replica, backend, self.now, latency, ok);
                Ok(None)
            }
            "alive" => {
                self.now = self.now.max(words.micros(TIME)?);
                let backends = words.all_below(size)?;
                balancer.alive(self.now, &backends);
                Ok(None)
            }
            "pool" => Err(Fault::SecondPool),
            _ => Err(Fault::Word(shown(word))),
        }
    }

    fn setup(&self, words: &mut Words<'_>) -> Result<Setup, Fault> {
        let size = words.between(1, MOST_BACKENDS, "1 to 100,000 backends")?;
        let replicas = words.between(1, MOST_REPLICAS, "1 to 10,000 replicas")?;
        let seed = words.number("a seed, 0 to 18446744073709551615")?;
        let weight = "a weight for every backend, 1 to 65535";
        let weights = (0..size).map(|_| words.between(1, 65_535, weight));
        let weights = weights.map(|weight| weight.map(|weight| weight as u32));
        let setup = Setup {
            strategy: self.strategy,
            weights: weights.collect::<Result<_, Fault>>()?,
            replicas,
            shared: self.shared,
            seed,
            config: self.config.clone(),
        };
        words.end()?;
        Ok(setup)
    }
}

const REPLICA: &str = "the number of a replica, counted from 0";
const BACKEND: &str = "the number of a backend, counted from 0";
const TIME: &str = "a time in microseconds";

/// The words of a line.
struct Words<'l>(SplitAsciiWhitespace<'l>);

impl Words<'_> {
    fn number<N: FromStr>(&mut self, expected: &'static str) -> Result<N, Fault> {
        let word = self.0.next().ok_or(Fault::Missing(expected))?;
        word.parse().map_err(|_| Fault::Number {
            expected,
            found: shown(word),
        })
    }

    fn between(
        &mut self,
        least: usize,
        most: usize,
        expected: &'static str,
    ) -> Result<usize, Fault> {
        let number = self.number(expected)?;
        match (least..=most).contains(&number) {
            true => Ok(number),
            false => Err(Fault::Number {
                expected,
                found: number.to_string(),
            }),
        }
    }

    fn below(&mut self, bound: usize, expected: &'static str) -> Result<usize, Fault> {
        self.between(0, bound - 1, expected)
    }

    fn micros(&mut self, expected: &'static str) -> Result<Duration, Fault> {
        self.number(expected).map(Duration::from_micros)
    }

    fn all_below(&mut self, bound: usize) -> Result<Vec<usize>, Fault> {
        let mut all = Vec::new();
        while self.0.clone().next().is_some() {
            all.push(self.below(bound, BACKEND)?);
        }
        Ok(all)
    }

    fn end(&mut self) -> Result<(), Fault> {
        self.0
            .next()
            .map_or(Ok(()), |word| Err(Fault::Extra(shown(word))))
    }
}

/// As much of a word as a message needs.
fn shown(word: &str) -> String {
    word.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(lines: &str) -> Result<String, String> {
        let mut out = Vec::new();
        serve(
            lines.as_bytes(),
            &mut out,
            Name::RoundRobin,
            false,
            &Config::default(),
        )
        .map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn picks_are_answered_line_by_line() {
        let said = "pool 3 1 0 1 1 1\nalive 0 0 1 2\npick 0 1\npick 0 2\n\ndone 0 0 5 4 1\npick 0 6\npick 0 7";
        assert_eq!(answers(said).unwrap(), "0\n1\n2\n0\n");
    }

    #[test]
    fn leap_in_time_is_taken_at_once() {
        let said =
            "pool 2 1 0 1 1\npick 0 1\npick 0 1795283572000000\npick 0 18446744073709551615\n";
        assert_eq!(answers(said).unwrap().lines().count(), 3);
        let mut out = Vec::new();
        serve(
            said.as_bytes(),
            &mut out,
            Name::Adaptive,
            false,
            &Config::default(),
        )
        .unwrap();
    }

    #[test]
    fn backend_that_is_not_alive_is_not_picked() {
        let said = "pool 3 1 0 1 1 1\nalive 0 0 2\npick 0 1\npick 0 2\npick 0 3\nalive 4 0 1 2\npick 0 4\npick 0 5\npick 0 6\n";
        let picked = answers(said).unwrap();
        assert!(
            !picked[..6].contains('1') && picked[6..].contains('1'),
            "{picked}"
        );
    }

    #[test]
    fn faults_say_where_and_what_would_be_right() {
        for (said, expected) in [
            (
                "pick 0 1\n",
                "line 1: expected `pool <n> <replicas> <seed> <weight>...` first, found `pick`",
            ),
            (
                "pool 2 1 0 1\n",
                "line 1: expected a weight for every backend, 1 to 65535, found the end of the line",
            ),
            (
                "pool 0 1 0\n",
                "line 1: expected 1 to 100,000 backends, found `0`",
            ),
            (
                "pool 1 1 0 1 9\n",
                "line 1: expected the end of the line, found `9`",
            ),
            ("pool 1 1 0 1\npool 1 1 0 1\n", "line 2: a second `pool`"),
            (
                "pool 1 1 0 1\nnap 3\n",
                "line 2: expected `alive`, `done` or `pick`, found `nap`",
            ),
            (
                "pool 1 1 0 1\n\npick 1 3\n",
                "line 3: expected the number of a replica, counted from 0, found `1`",
            ),
            (
                "pool 1 1 0 1\npick 0 -3\n",
                "line 2: expected a time in microseconds, found `-3`",
            ),
            (
                "pool 1 1 0 1\ndone 0 0 3 4 yes\n",
                "line 2: expected 1 for an answer or 0 for a failure, found `yes`",
            ),
        ] {
            assert_eq!(answers(said).unwrap_err(), expected);
        }
    }
}
