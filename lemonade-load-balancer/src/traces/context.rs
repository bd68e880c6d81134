//! W3C Trace Context (Recommendation of 2021, and the `random` flag of Level 2): what `traceparent` says. Pure.
//!
//! ```text
//! 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
//! version, trace id, the caller's span, flags
//! ```

use crate::digits::eight_hex;
use fastrand::Rng;
use std::ops::Range;

/// A `traceparent` as a line of a head.
pub(crate) type Line = [u8; 70];
/// Where in that the span is.
const SPAN: Range<usize> = 49..65;

/// Of a value in the one version that there is, `00`.
const LENGTH: usize = 55;
/// The reserved version.
const NO_VERSION: &[u8] = b"ff";
const SAMPLED: u8 = 0b01;
const RANDOM: u8 = 0b10;
/// What must be passed on of `tracestate` at least (3.3.1.5); more is allowed, and not taken.
const TRACESTATE: usize = 512;

/// What a caller says of the trace that its request belongs to; or what a backend is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceParent {
    /// Never 0.
    pub(crate) trace_id: u128,
    /// The span of who sends this. Never 0.
    pub(crate) span: u64,
    /// Who sends this records its part.
    pub(crate) sampled: bool,
    /// The trace id's lower half is random, so that a share of all traces can be told by it.
    pub(crate) random: bool,
}

impl TraceParent {
    /// Reads a field's value. `None`: it is malformed, so the trace begins anew and `tracestate` is not passed on (3.3.1.1).
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let (head, rest) = value.split_at_checked(LENGTH)?;
        let version = &head[..2];
        hex(version)?;
        // Of a later version the beginning is read as if it were 00; what follows must be set apart (4.3).
        let ends_well = match version {
            b"00" => rest.is_empty(),
            NO_VERSION => false,
            _ => rest.is_empty() || rest[0] == b'-',
        };
        let dashes = [2, 35, 52].iter().all(|&place| head[place] == b'-');
        if !ends_well || !dashes {
            return None;
        }
        let trace_id = hex(&head[3..35])?;
        let span = hex(&head[36..52])? as u64;
        let flags = hex(&head[53..55])? as u8;
        (trace_id != 0 && span != 0).then_some(TraceParent {
            trace_id,
            span,
            sampled: flags & SAMPLED != 0,
            random: flags & RANDOM != 0,
        })
    }

    /// The field to send, in version 00. Flags that we do not know are not passed on (3.2.2.5).
    pub(crate) fn line(&self) -> Line {
        let flags = u8::from(self.sampled) * SAMPLED + u8::from(self.random) * RANDOM;
        let mut line = *b"traceparent: 00-tttttttttttttttttttttttttttttttt-ssssssssssssssss-0f\r\n";
        line[16..48].copy_from_slice(&digits(self.trace_id));
        line[SPAN].copy_from_slice(&span_digits(self.span));
        line[67] = b'0' + flags;
        line
    }
}

/// Says of requests that nobody records them, so that their backends do not decide that anew. What it says differs from request to
/// request in the trace id's second half, which is what has to be random of it (Level 2, 3.2.2.5). The span has the same number, as
/// Zipkin's root spans do: it saves drawing and writing another, and nobody records either.
#[derive(Debug)]
pub(crate) struct Unrecorded {
    pattern: Line,
}

impl Unrecorded {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let any = TraceParent {
            trace_id: trace_id(rng),
            span: span_id(rng),
            sampled: false,
            random: true,
        };
        Unrecorded {
            pattern: any.line(),
        }
    }

    /// What one request's backends are told.
    pub(crate) fn line(&self, rng: &mut Rng) -> Line {
        let mut line = self.pattern;
        let digits = span_digits(span_id(rng));
        line[32..48].copy_from_slice(&digits);
        line[SPAN].copy_from_slice(&digits);
        line
    }
}

/// A trace's, made here; all of it random.
pub(crate) fn trace_id(rng: &mut Rng) -> u128 {
    u128::from(span_id(rng)) << 64 | u128::from(rng.u64(..))
}

/// A span's, made here.
pub(crate) fn span_id(rng: &mut Rng) -> u64 {
    loop {
        let id = rng.u64(..);
        if id != 0 {
            return id;
        }
    }
}

/// Whether a `tracestate` may be passed on and kept: short enough, and nothing but visible ASCII and blanks.
pub(crate) fn is_tracestate(value: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ' || *byte == b'\t';
    !value.is_empty() && value.len() <= TRACESTATE && value.iter().all(plain)
}

/// Lower case only (3.2.2); at most 32 digits.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

/// A trace id's digits.
pub(crate) fn digits(trace_id: u128) -> [u8; 32] {
    let mut digits = [0; 32];
    digits[..16].copy_from_slice(&span_digits((trace_id >> 64) as u64));
    digits[16..].copy_from_slice(&span_digits(trace_id as u64));
    digits
}

/// A span's digits, leading zeros too.
pub(crate) fn span_digits(span: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    digits[..8].copy_from_slice(&eight_hex((span >> 32) as u32));
    digits[8..].copy_from_slice(&eight_hex(span as u32));
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;
    use proptest::prelude::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// What is sent.
    fn sent(parent: &TraceParent) -> Vec<u8> {
        let line = parent.line();
        let value = line.strip_prefix(b"traceparent: ").unwrap();
        value.strip_suffix(b"\r\n").unwrap().to_vec()
    }

    #[test]
    fn value_of_the_specification_is_read() {
        let parent = TraceParent::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(parent.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(parent.span, 0x00f0_67aa_0ba9_02b7);
        assert!(parent.sampled && !parent.random);
        assert_eq!(sent(&parent), GOOD.as_bytes());
    }

    #[test]
    fn later_versions_are_read_as_far_as_they_are_known() {
        let ids = &GOOD[2..];
        for (value, good) in [
            (format!("01{ids}"), true),
            (format!("01{ids}-what-comes"), true),
            (format!("cc{ids}-"), true),
            (format!("01{ids}x"), false),
            (format!("00{ids}-"), false),
            (format!("ff{ids}"), false),
            (format!("0G{ids}"), false),
            (format!("0A{ids}"), false),
        ] {
            let parent = TraceParent::parse(value.as_bytes());
            assert_eq!(parent.is_some(), good, "{value}");
        }
    }

    #[test]
    fn malformed_values_are_refused() {
        let zero_trace = GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32));
        let zero_span = GOOD.replace("00f067aa0ba902b7", &"0".repeat(16));
        let dash = GOOD.replacen('-', "_", 1);
        for value in [
            "",
            "00",
            &GOOD[..54],
            &GOOD.to_uppercase(),
            &zero_trace,
            &zero_span,
            &dash,
            &format!(" {GOOD}"),
            &format!("{GOOD} "),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-é",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
        ] {
            assert_eq!(TraceParent::parse(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn tracestate_is_bounded() {
        assert!(is_tracestate(b"rojo=00f067aa0ba902b7,congo=t61 x"));
        assert!(is_tracestate(&[b'a'; TRACESTATE]));
        assert!(!is_tracestate(&[b'a'; TRACESTATE + 1]));
        assert!(!is_tracestate(b"") && !is_tracestate(b"a=\x01") && !is_tracestate("ä".as_bytes()));
    }

    #[test]
    fn traces_that_nobody_records_are_told_apart() {
        let mut rng = Rng::with_seed(7);
        let unrecorded = Unrecorded::new(&mut rng);
        let mut told = || {
            let line = unrecorded.line(&mut rng);
            TraceParent::parse(&line[13..68]).unwrap()
        };
        let (one, other) = (told(), told());
        assert!(!one.sampled && one.random && one.span == one.trace_id as u64);
        assert_eq!(one.trace_id >> 64, other.trace_id >> 64);
        assert_ne!(one.span, other.span);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(seed: u64, sampled: bool, random: bool) {
            let mut rng = Rng::with_seed(seed);
            let parent = TraceParent { trace_id: trace_id(&mut rng), span: span_id(&mut rng), sampled, random };
            prop_assert_eq!(TraceParent::parse(&sent(&parent)), Some(parent));
        }

        #[test]
        fn what_is_read_is_written_the_same(value in "0[0-9a-f]-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3](-[ -~]{0,9})?") {
            if let Some(parent) = TraceParent::parse(value.as_bytes()) {
                prop_assert_eq!(&sent(&parent)[2..], &value.as_bytes()[2..LENGTH]);
            } else {
                prop_assert!(value.starts_with("00") && value.len() > LENGTH || value.contains("-0000000000000000"));
            }
        }

        #[test]
        fn nothing_panics(value: Vec<u8>) {
            let _ = TraceParent::parse(&value);
        }

        #[test]
        fn one_byte_changed_is_refused_or_another_value(place in 0..LENGTH, byte: u8) {
            let mut value = *b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
            prop_assume!(value[place] != byte);
            value[place] = byte;
            if let Some(parent) = TraceParent::parse(&value) {
                prop_assert!(byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
                let digit = char::from(byte).to_digit(16);
                let same = TraceParent::parse(GOOD.as_bytes()) == Some(parent);
                // A later version, or a flag that is not known.
                let is_unknown_flag = place == 54 && digit.is_some_and(|flags| flags & 3 == 1);
                prop_assert_eq!(same, place < 2 || place == 53 || is_unknown_flag);
            }
        }
    }
}
